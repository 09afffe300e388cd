import numpy as np
import pytest
from numpy.testing import assert_allclose

from ppc.frontend.ir import ops
from ppc.frontend.ir.graph import BOOL, FLOAT, Graph, Input, Owner, walk_from
from ppc.frontend.ir.reference import evaluate, evaluate_all
from ppc.frontend.ir.text import show
from ppc.passes.calibrate import Range, calibrate
from ppc.passes.clamp_mask import clamp_mask, cuts, floor_of, maximum_floor_of, relu_floor_of
from ppc.passes.owners import owners

X = Input((2, 4), FLOAT, name="x")
MASK = Input((1, 4), FLOAT, name="mask")
KEPT = Input((1, 4), BOOL, name="kept")
WEIGHT = ops.Const(np.eye(4), True)
FEEDS = {"x": np.random.default_rng(0).normal(0, 3, (2, 4)), "mask": np.array([[0, 0, -1e9, -1e9]])}


def masked(*operands):
    return Graph((X, MASK), {"y": ops.Softmax(ops.Add(*operands))})


def test_mask_is_cut_and_softmax_does_not_notice():
    scores = ops.MatMul(X, WEIGHT)
    for before in (masked(scores, MASK), masked(MASK, scores)):
        ranges = calibrate(before, [FEEDS])
        after = clamp_mask(before, ranges)
        assert f"Clip(%1, lo={floor_of(ranges[scores]):g})" in show(after)
        assert_allclose(evaluate(before, FEEDS)["y"], evaluate(after, FEEDS)["y"], atol=1e-3)


def test_floor_is_below_every_score_by_the_reach_of_exp():
    assert floor_of(Range(-10, 20, 5)) <= -30 - 7


def test_where_becomes_an_additive_mask():
    scores = ops.MatMul(X, WEIGHT)
    before = Graph((X, KEPT), {"y": ops.Softmax(ops.Where(KEPT, scores, ops.Const(-np.inf)))})
    feeds = {"x": FEEDS["x"], "kept": np.array([[True, True, False, True]])}
    after = clamp_mask(before, calibrate(before, [feeds]))
    assert "Add(" in show(after)
    assert_allclose(evaluate(before, feeds)["y"], evaluate(after, feeds)["y"], atol=1e-3)


def test_where_with_a_mild_value_stays():
    before = Graph((X, KEPT), {"y": ops.Softmax(ops.Where(KEPT, ops.MatMul(X, WEIGHT), ops.Const(-1.0)))})
    feeds = {"x": FEEDS["x"], "kept": np.array([[True, True, False, True]])}
    assert "Clip" not in show(clamp_mask(before, calibrate(before, [feeds])))


def test_a_shared_bias_stays():
    before = masked(ops.MatMul(X, WEIGHT), ops.MatMul(ops.Neg(X), WEIGHT))
    assert "Clip" not in show(clamp_mask(before, calibrate(before, [FEEDS])))


def test_what_no_softmax_follows_stays():
    before = Graph((X, MASK), {"y": ops.Tanh(ops.Add(ops.MatMul(X, WEIGHT), MASK))})
    assert "Clip" not in show(clamp_mask(before, calibrate(before, [FEEDS])))


def relu_masked(*layers):
    """relu of scores under the layers given, from the inside out."""
    x = ops.MatMul(X, WEIGHT)
    for layer in layers:
        x = layer(x)
    used = {op.name for op in walk_from(x) if isinstance(op, Input)}
    return Graph(tuple(i for i in (X, MASK, KEPT) if i.name in used), {"y": ops.Relu(x)})


def bounded(graph):
    feeds = {name: v for name, v in {**FEEDS, "kept": ~(FEEDS["mask"] < 0)}.items()
             if name in {i.name for i in graph.inputs}}  # fmt: skip
    ranges = calibrate(graph, [feeds])
    after = clamp_mask(graph, ranges)
    before, now = evaluate(graph, feeds)["y"], evaluate(after, feeds)["y"]
    assert_allclose(now, before, atol=1e-9)
    owner = owners(after)
    lowest = min(v.min() for op, v in evaluate_all(after, feeds).items() if owner[op] is Owner.SHARED)
    return after, now, lowest


CAUSAL = ops.Const(np.where(np.tri(2, 4) > 0, 0, -1e4).astype(np.float32))
KEEP = ops.Const(np.tri(2, 4) > 0)
LOW = ops.Const(np.float32(-3.4e38))


@pytest.mark.parametrize(
    "layers",
    [
        (lambda x: ops.Add(x, MASK),),
        (lambda x: ops.Add(MASK, x),),
        (lambda x: ops.Where(KEPT, x, LOW),),
        (lambda x: ops.Where(ops.Not(KEPT), LOW, x),),
        (lambda x: ops.Add(x, CAUSAL),),
        (lambda x: ops.Where(KEEP, x, LOW),),
        (lambda x: ops.Add(x, CAUSAL), lambda x: ops.Add(x, MASK)),
        (lambda x: ops.Where(KEEP, x, LOW), lambda x: ops.Add(x, MASK)),
        (lambda x: ops.Add(x, MASK), lambda x: ops.Add(x, ops.Const(np.float32(2.5), True))),
    ],
)
def test_masks_under_a_relu_end_just_below_zero(layers):
    graph = relu_masked(*layers)
    after, y, lowest = bounded(graph)
    assert "Where(" not in show(after) or ": f32[1,4]" in show(after)
    assert (y == 0).any()
    assert -100 < lowest < -1


def test_a_masked_score_is_exactly_zero_up_to_the_end_of_the_range():
    scores = ops.MatMul(X, WEIGHT)
    before = Graph((X, MASK), {"y": ops.Relu(ops.Add(scores, MASK))})
    ranges = calibrate(before, [FEEDS])
    after = clamp_mask(before, ranges)
    most = {"x": np.full((2, 4), ranges[scores].hi), "mask": FEEDS["mask"]}
    assert np.all(evaluate(after, most)["y"][:, 2:] == 0)
    assert relu_floor_of(Range(-10, 20, 5)) == -21
    assert relu_floor_of(Range(-10, -2, 5)) == -1


def test_a_bias_of_the_servers_is_no_mask():
    for bias in (np.float32(-3.0), np.array([1, -2, 3, -900], np.float32)):
        before = relu_masked(lambda x, bias=bias: ops.Add(x, ops.Const(bias, True)))
        assert show(clamp_mask(before, calibrate(before, [{"x": FEEDS["x"]}]))) == show(before)


def test_two_masks_that_softmax_reads():
    scores = ops.MatMul(X, WEIGHT)
    before = Graph((X, MASK), {"y": ops.Softmax(ops.Add(ops.Where(KEEP, scores, LOW), MASK))})
    feeds = {"x": FEEDS["x"], "mask": np.array([[0.0, 0, 0, -1e9]])}
    after = clamp_mask(before, calibrate(before, [feeds]))
    assert "Where" not in show(after)
    assert_allclose(evaluate(before, feeds)["y"], evaluate(after, feeds)["y"], atol=1e-3)


@pytest.mark.parametrize(
    "layer",
    [
        lambda x: ops.Add(x, MASK),
        lambda x: ops.Where(KEPT, x, ops.Const(-np.inf)),
        lambda x: ops.Where(ops.Not(KEPT), LOW, x),
    ],
)
def test_masks_under_a_maximum_end_just_below_all_that_is_there(layer):
    x = layer(ops.MatMul(X, WEIGHT))
    used = {op.name for op in walk_from(x) if isinstance(op, Input)}
    before = Graph(tuple(i for i in (X, MASK, KEPT) if i.name in used), {"y": ops.ReduceMax(x, (1,), False)})
    after, y, lowest = bounded(before)
    assert "Where(" not in show(after) or ": f32[1,4]" in show(after)
    assert np.isfinite(y).all()
    assert -100 < lowest < 0


def test_a_maximum_s_mask_puts_what_it_masks_below_the_rest_and_below_zero():
    assert maximum_floor_of(Range(-8, 8, 1)) == -17
    assert maximum_floor_of(Range(8, 16, 1)) == -17
    assert maximum_floor_of(Range(-16, -8, 1)) == -8.5
    assert maximum_floor_of(Range(0, 0, 0)) == -1


@pytest.mark.parametrize(
    "term",
    [
        lambda deep, scale: ops.Mul(ops.Reshape(deep, (1, 4)), scale),
        lambda deep, scale: ops.Neg(
            ops.Transpose(ops.Mul(ops.Reshape(ops.Neg(deep), (4, 1)), scale), (1, 0))
        ),
        lambda deep, scale: ops.Mul(ops.Neg(deep), ops.Const(-scale.value, True)),
    ],
)
def test_a_mask_times_a_number_of_the_servers_is_cut_by_the_client(term):
    """At a power of two, which says no more of the number than its size."""
    scores, scale = ops.MatMul(X, WEIGHT), ops.Const(np.array(0.37), True)
    deep = ops.Mul(MASK, ops.Const(np.array(1e4)))
    feeds = {"x": FEEDS["x"], "mask": np.array([[0, 0, -1.0, -1.0]])}
    before = masked(scores, term(deep, scale))
    ranges = calibrate(before, [feeds])
    after = clamp_mask(before, ranges)
    (cut,) = (op for op in walk_from(after.outputs["y"]) if isinstance(op, ops.Clip))
    assert owners(after)[cut] is Owner.CLIENT
    (end,) = (abs(each) for each in (cut.lo, cut.hi) if each is not None)
    assert np.log2(end) == round(np.log2(end))
    assert 2 * floor_of(ranges[scores]) < -end * 0.37 <= floor_of(ranges[scores])
    assert_allclose(evaluate(before, feeds)["y"], evaluate(after, feeds)["y"], atol=1e-3)
    assert "masks reach below -" in str(cuts(before, ranges)[0])


@pytest.mark.parametrize(
    "bound", [lambda x, low: ops.Clip(x, low, None), lambda x, low: ops.Max(x, ops.Const(np.array(low)))]
)
def test_a_bound_that_no_value_reaches_goes(bound):
    def left(low):
        before = Graph((X,), {"y": ops.Softmax(bound(ops.MatMul(X, WEIGHT), low))})
        after = clamp_mask(before, calibrate(before, [{"x": FEEDS["x"]}]))
        return {"Clip", "Max"} & {type(op).__name__ for op in walk_from(after.outputs["y"])}

    assert not left(-1e4)
    assert left(-900.0)
    assert left(-2.0)
