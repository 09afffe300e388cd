import numpy as np
from numpy.testing import assert_allclose

from ppc.frontend.ir import ops
from ppc.frontend.ir.graph import BOOL, FLOAT, Graph, Input
from ppc.frontend.ir.reference import evaluate
from ppc.frontend.ir.text import show
from ppc.passes.calibrate import Range, calibrate
from ppc.passes.clamp_mask import clamp_mask, floor_of

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
