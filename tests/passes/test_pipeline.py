import numpy as np
import pytest
import tiny_bert
from numpy.testing import assert_allclose

from ppc import passes
from ppc.frontend.ir import fixed, ops
from ppc.frontend.ir.graph import FLOAT, Graph, Input, Owner, walk
from ppc.frontend.ir.reference import evaluate
from ppc.frontend.ir.text import show
from ppc.passes.owners import owners
from ppc.runtime.base.ring import Fixed

pytestmark = pytest.mark.long

GRAPH = tiny_bert.tiny_bert()
FEEDS = [tiny_bert.feeds(n % 5 + 2, n) for n in range(20)]


@pytest.mark.parametrize("stage", [stage.name for stage in passes.PIPELINE])
def test_meaning_is_kept_after_every_stage(stage):
    state = passes.run(GRAPH, feeds=FEEDS, stop_after=stage)
    for each in (tiny_bert.feeds(5, 9), tiny_bert.feeds(6, 10)):
        exact = evaluate(GRAPH, each)["pooled"]
        assert tiny_bert.cosine(evaluate(state.graph, each)["pooled"], exact) > 0.9995
        assert_allclose(evaluate(state.graph, each)["pooled"], exact, atol=0.05)


def test_the_result_is_fixed_where_it_is_shared():
    done = passes.run(GRAPH, feeds=FEEDS).graph
    for op, owner in owners(done).items():
        assert isinstance(op.type.num, Fixed) or owner is not Owner.SHARED
    assert not {"Softmax", "LayerNorm", "Gelu", "Div", "Gather"} & {
        type(op).__name__ for op, owner in owners(done).items() if owner is Owner.SHARED
    }


def test_integers_agree_with_the_model():
    done = passes.run(GRAPH, feeds=FEEDS).graph
    for seed in range(10):
        each = tiny_bert.feeds(seed % 5 + 2, seed + 50)
        exact = evaluate(GRAPH, each)["pooled"]
        assert tiny_bert.cosine(fixed.evaluate(done, each)["pooled"], exact) > 0.999


def test_random_calibration_serves_too():
    done = passes.run(GRAPH).graph
    exact = evaluate(GRAPH, FEEDS[1])["pooled"]
    assert tiny_bert.cosine(fixed.evaluate(done, FEEDS[1])["pooled"], exact) > 0.999


def test_no_division_over_scores_and_no_mask_beyond_reach():
    text = show(passes.run(GRAPH, feeds=FEEDS).graph)
    scores = f"[1,2,{tiny_bert.SEQ},{tiny_bert.SEQ}]"
    assert not [line for line in text.splitlines() if " Mul(" in line and scores in line]
    assert "Clip" in text


def test_it_is_deterministic():
    assert show(passes.run(GRAPH, feeds=FEEDS).graph) == show(passes.run(GRAPH, feeds=FEEDS).graph)


def test_precision_is_an_option():
    coarse = passes.Options(precision=passes.Precision(value=7, weight=7, channel=8, spline=6))
    fine = passes.Options(precision=passes.Precision(value=12, weight=12, channel=13, spline=11))
    each = tiny_bert.feeds(6, 77)
    exact = evaluate(GRAPH, each)["pooled"]
    coarse_off, fine_off = (
        np.abs(fixed.evaluate(passes.run(GRAPH, options, FEEDS).graph, each)["pooled"] - exact).max()
        for options in (coarse, fine)
    )
    assert fine_off < coarse_off


def test_stages_have_names_of_their_own_and_reasons():
    assert len({stage.name for stage in passes.PIPELINE}) == len(passes.PIPELINE)
    assert all(stage.reason for stage in passes.PIPELINE)


def test_unknown_names_are_refused():
    with pytest.raises(ValueError, match="no stage 'wash'"):
        passes.run(GRAPH, stop_after="wash")
    with pytest.raises(ValueError, match="no profile 'hostile'"):
        passes.run(GRAPH, passes.Options(profile="hostile"))


def test_client_arithmetic_stays_in_floats():
    done = passes.run(GRAPH, feeds=FEEDS).graph
    known = owners(done)
    assert [op for op in walk(done) if isinstance(op, ops.Clip) and known[op] is Owner.CLIENT]
    assert all(
        isinstance(op, ops.Cast)
        for op in known
        if known[op] is Owner.CLIENT and isinstance(op.type.num, Fixed)
    )


def test_a_gated_layer_with_rms_norm():
    """Llama's feed-forward: silu(x @ U) · (x @ V) @ W + x, on the client's own vectors."""
    rng = np.random.default_rng(4)
    x = Input((5, 16), FLOAT, name="x")
    h = ops.MatMul(x, tiny_bert.weight(rng, 16, 16))
    n = ops.RMSNorm(h, tiny_bert.weight(rng, 16, spread=1.0), eps=1e-6)
    gated = ops.Mul(
        ops.Silu(ops.MatMul(n, tiny_bert.weight(rng, 16, 24))), ops.MatMul(n, tiny_bert.weight(rng, 16, 24))
    )
    graph = Graph((x,), {"y": ops.Add(ops.MatMul(gated, tiny_bert.weight(rng, 24, 16)), h)})
    feeds = [{"x": rng.normal(size=(5, 16))} for _ in range(20)]
    done = passes.run(graph, feeds=feeds[:15]).graph
    for each in feeds[15:]:
        assert tiny_bert.cosine(fixed.evaluate(done, each)["y"], evaluate(graph, each)["y"]) > 0.9995
