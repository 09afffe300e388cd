"""Legal after each stage: every stage refuses a graph that is wrong there, and none of these models."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import tiny_bert as one_layer
from rewriting import graph, inp, num, row

from models.tiny_bert import tiny_bert
from ppc import passes
from ppc.frontend.ir import ops
from ppc.frontend.ir.graph import BOOL, FLOAT, INT, Graph, Input, IRError, Op
from ppc.frontend.read.load import load
from ppc.passes import functions
from ppc.passes.legal import LEGAL, check_legal
from ppc.runtime.base.ring import Fixed

STAGES = [stage.name for stage in passes.PIPELINE]
NUM = Fixed(20, 8)
X, KEPT, IDS = inp(2, 3), inp(2, 3, name="kept", num=BOOL), Input((2,), INT, name="ids")
SECRET = row(1, 2, 3)
SHARED = ops.Add(X, SECRET)
FIXED = ops.Add(ops.Cast(X, NUM), replace(SECRET, num=NUM))

UNTIL: dict[str, tuple[str, Op]] = {
    "a selection": ("clamp_mask", ops.Where(KEPT, SHARED, num(0))),
    "the smaller of two": ("clamp_mask", ops.Min(SHARED, X)),
    "the larger of two": ("clamp_mask", ops.Max(SHARED, X)),
    "a comparison": ("clamp_mask", ops.Less(SHARED, X)),
    "whole numbers": ("clamp_mask", ops.Floor(SHARED)),
    "running sums": ("clamp_mask", ops.CumSum(SHARED, 1)),
    "another axis's maximum": ("clamp_mask", ops.ReduceMax(SHARED, (0,))),
    "a slice backwards": ("clamp_mask", ops.Slice(SHARED, (2,), (-9,), (1,), (-1,))),
    "a softmax": ("legalise", ops.Softmax(SHARED)),
    "a norm": ("legalise", ops.RMSNorm(SHARED, row(1, 1, 1), eps=1e-5)),
    "a division": ("legalise", ops.Div(SHARED, X)),
    "a mean": ("legalise", ops.ReduceMean(SHARED, (1,))),
    "a power": ("clamp_mask", ops.Pow(SHARED, num(2))),
    "an embedding": ("legalise", ops.Gather(ops.Const(np.eye(3, dtype=np.float32), True), IDS, 0)),
    "exp": ("calibrate_functions", ops.Exp(SHARED)),
    "gelu": ("calibrate_functions", ops.Gelu(SHARED)),
    "a real": ("calibrate_values", SHARED),
    "a product of reals": ("calibrate_values", ops.Square(SHARED)),
}
"""Ops by the last stage after which they may be in a graph."""

FROM: dict[str, tuple[str, Op]] = {
    "a format": ("assign_scale", FIXED),
    "a rescaling": ("assign_scale", ops.Rescale(FIXED, Fixed(16, 4))),
}
"""And by the first."""

NEVER: dict[str, Op] = {
    "a spline of the client's": ops.Spline(X, functions.relu()),
    "something opaque": ops.Opaque((X,), (2, 3)),
    "fixed point at the client": ops.Neg(ops.Cast(X, NUM)),
    "fixed point that the server could fold": ops.Add(FIXED, ops.Cast(ops.Neg(SECRET), NUM)),
}


def is_legal(op: Op, stage: str) -> bool:
    try:
        check_legal(graph(op), stage)
    except IRError:
        return False
    return True


def test_the_op_and_the_stage_are_named() -> None:
    choice = ops.Where(KEPT, SHARED, num(0), name="/layer/choice")
    with pytest.raises(IRError, match=r"^after legalise: <Where /layer/choice : .*no way to compute it"):
        check_legal(graph(choice), "legalise")


def test_every_stage_is_in_the_table_in_order() -> None:
    assert list(LEGAL) == STAGES


@pytest.mark.parametrize("name", UNTIL)
def test_what_a_stage_removes_is_illegal_from_then_on(name: str) -> None:
    last, op = UNTIL[name]
    assert [stage for stage in STAGES if is_legal(op, stage)] == STAGES[: STAGES.index(last) + 1]


@pytest.mark.parametrize("name", FROM)
def test_what_a_stage_brings_is_illegal_before(name: str) -> None:
    first, op = FROM[name]
    assert [stage for stage in STAGES if is_legal(op, stage)] == STAGES[STAGES.index(first) :]


def test_a_spline_is_real_first_and_then_says_in_which_formats() -> None:
    real = ops.Spline(SHARED, functions.relu())
    fixed = ops.Spline(FIXED, functions.relu(), num=NUM, quad=NUM, width=20)
    assert [stage for stage in STAGES if is_legal(real, stage)] == ["approximate", "calibrate_values"]
    assert [stage for stage in STAGES if is_legal(fixed, stage)] == [
        "assign_scale",
        "check_range",
        "group_queries",
    ]
    assert not is_legal(replace(fixed, quad=None), "assign_scale")
    assert not is_legal(replace(fixed, width=None), "assign_scale")


@pytest.mark.parametrize("name", NEVER)
def test_what_is_never_legal(name: str) -> None:
    assert not [stage for stage in STAGES if is_legal(NEVER[name], stage)]


def test_what_one_party_knows_is_its_own_affair() -> None:
    alone = ops.Where(ops.Less(X, num(0)), ops.Softmax(X, 0), ops.Floor(X))
    assert all(is_legal(alone, stage) for stage in STAGES)


def test_a_softmax_is_over_the_last_axis() -> None:
    assert is_legal(ops.Softmax(SHARED, -1), "canonicalize")
    assert not is_legal(ops.Softmax(SHARED, 0), "canonicalize")


@pytest.mark.parametrize("stage", STAGES)
def test_the_pipeline_stops_where_a_stage_does_wrong(stage: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(each: passes.Stage) -> passes.Stage:
        spoilt = ops.Opaque((X,), (2, 3))
        return replace(each, run=lambda state: replace(each.run(state), graph=graph(spoilt)))

    monkeypatch.setattr(
        passes, "PIPELINE", tuple(broken(each) if each.name == stage else each for each in passes.PIPELINE)
    )
    with pytest.raises(IRError, match=f"^after {stage}: <Opaque"):
        passes.run(graph(ops.MatMul(X, ops.Const(np.ones((3, 3), np.float32), True))))


def gated() -> Graph:
    """Llama's feed-forward, a choice, a running sum and a maximum besides."""
    rng = np.random.default_rng(4)
    x, kept = Input((5, 16), FLOAT, name="x"), Input((5, 1), BOOL, name="kept")
    n = ops.RMSNorm(ops.MatMul(x, one_layer.weight(rng, 16, 16)), one_layer.weight(rng, 16), eps=1e-2)
    up, gate = (ops.MatMul(n, one_layer.weight(rng, 16, 24)) for _ in range(2))
    chosen = ops.Where(kept, ops.Mul(ops.Silu(gate), up), ops.Max(up, gate))
    return Graph((x, kept), {"y": ops.CumSum(chosen, 0), "top": ops.ReduceMax(up, (0,))})


MODELS: dict[str, Callable[[], Graph]] = {
    "one layer": one_layer.tiny_bert,
    "two layers from a file": lambda: load(tiny_bert(), seq_len=8),
    "weights in nodes": lambda: load(tiny_bert(weights_as_nodes=True), seq_len=8),
    "gated": gated,
}


@pytest.mark.long
@pytest.mark.parametrize("profile", ["exact", "friendly"])
@pytest.mark.parametrize("name", MODELS)
def test_models_are_legal_after_every_stage(name: str, profile: str, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []
    monkeypatch.setattr(passes, "check_legal", lambda g, stage: (seen.append(stage), check_legal(g, stage)))
    passes.run(MODELS[name](), passes.Options(profile=profile))
    assert seen == STAGES
