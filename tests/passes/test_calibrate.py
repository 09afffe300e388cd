import os
import sys

import numpy as np
import pytest
import tiny_bert

from ppc.frontend.ir import ops
from ppc.frontend.ir.graph import FLOAT, INT, Graph, Input, walk
from ppc.passes import functions
from ppc.passes.calibrate import Range, bounds, calibrate
from ppc.passes.draw_inputs import random_feeds
from ppc.passes.errors import RangeError
from ppc.passes.ranges import SLACK

X = Input((2, 3), FLOAT, name="x")
FEEDS = [
    {"x": np.array([[1.0, 2.0, 4.0], [1.0, 1.0, 1.0]])},
    {"x": np.array([[0.5, 1.0, 1.0], [2.0, 2.0, 3.0]])},
]


def of(op, margin=1.5, feeds=FEEDS):
    return calibrate(Graph((X,), {"y": op}), feeds, margin)[op]


def test_range_spans_all_data_and_is_widened():
    assert (of(ops.Neg(X)).lo, of(ops.Neg(X)).hi) == (-6.0, -0.5 / 1.5)
    assert (of(ops.Neg(X), 2.0).lo, of(ops.Neg(X), 2.0).hi) == (-8.0, -0.25)


def test_positive_values_stay_positive():
    assert of(ops.Sqrt(X)).lo > 0


def test_ranges_do_not_depend_on_how_many_samples_go_in_step(monkeypatch):
    w = ops.Const(np.random.default_rng(0).normal(size=(3, 5)))
    graph = Graph((X,), {"y": ops.Tanh(ops.MatMul(X, w))})
    feeds = [{"x": np.random.default_rng(seed).normal(size=(2, 3))} for seed in range(7)]
    found = []
    for most in (1, 3, 16):
        monkeypatch.setattr(sys.modules[calibrate.__module__], "MOST_IN_STEP", most)
        found.append(list(calibrate(graph, feeds).items()))
    assert found[0] == found[1] == found[2]
    assert any(isinstance(op, ops.MatMul) for op, _ in found[0])


def test_constants_get_no_margin():
    const = ops.Const(np.array([1.0, -2.0]))
    found = calibrate(Graph((), {"y": const}), [{}])[const]
    assert (found.lo, found.hi) == (-2.0, 1.0)


def test_rms_is_of_the_quieter_rows():
    assert of(ops.Neg(X)).rms < np.sqrt(np.mean(FEEDS[0]["x"] ** 2))
    assert 0.8 < of(ops.Neg(X)).rms < 2


def test_a_text_a_thousand_times_as_large_does_not_say_what_is_typical():
    feeds = [{"x": np.full(X.type.shape, each)} for each in (1.0, 3.0, 1.5, 2000.0, 0.0)]
    found = of(ops.Neg(X), feeds=feeds)
    assert 1.5 <= found.rms <= 3
    assert found.hi == 0
    assert found.lo <= -2000


@pytest.mark.parametrize(
    ("op", "lo", "hi"),
    [
        (ops.Softmax(X), 0, 1),
        (ops.Sigmoid(X), 0, 1),
        (ops.Tanh(X), -1, 1),
        (ops.Clip(X, lo=1.0), 1, 6),
        (ops.Sub(X, ops.ReduceMax(X, axes=(1,))), -3, 0),
        (ops.Spline(X, functions.tanh()), None, 1),
    ],
)
def test_known_bounds_cut_the_margin(op, lo, hi):
    found = of(op)
    assert found.hi <= hi + 1.01 * functions.tanh().max_error
    assert lo is None or found.lo >= lo - 6 * (hi == 0)


def test_a_softmax_sum_is_at_least_its_largest_term():
    e = ops.Exp(ops.Sub(X, ops.ReduceMax(X, axes=(1,))))
    total = ops.ReduceSum(e, axes=(1,))
    lo, hi = bounds(total, calibrate(Graph((X,), {"y": total}), FEEDS))
    assert lo == pytest.approx(1, abs=0.02)
    assert 3 <= hi <= 6
    other = ops.ReduceSum(ops.Exp(ops.Sub(X, ops.ReduceMax(ops.Neg(X), axes=(1,)))), axes=(1,))
    assert bounds(other, calibrate(Graph((X,), {"y": other}), FEEDS))[0] == -np.inf


def test_a_normalised_value_is_at_most_one():
    total = ops.Add(ops.ReduceSum(ops.Square(X), axes=(1,)), ops.Const(1e-9))
    unit = ops.Mul(X, ops.Spline(total, functions.rsqrt(1.0, 40.0)))
    assert of(unit, 9.0).hi <= 1.01 * (1 + 1e-4)
    other = ops.Mul(ops.Neg(X), ops.Spline(total, functions.rsqrt(1.0, 40.0)))
    assert of(other, 9.0).lo < -2


# ---- what holds for any input, whatever was seen


def softmax(scores, v=None):
    """e and Σe of scores − max, and e @ v."""
    e = ops.Exp(ops.Sub(scores, ops.ReduceMax(scores, axes=(1,))))
    return e, ops.ReduceSum(e, axes=(1,)), None if v is None else ops.MatMul(e, v)


@pytest.mark.parametrize("splined", [False, True])
def test_a_sum_of_exponentials_may_be_of_all_tokens_or_of_one(splined):
    """Samples are peaked: their sums are near 1, and those of a flat row are n."""
    x = Input((1, 40), FLOAT, name="x")
    e, total, _ = softmax(x)
    if splined:
        e = ops.Spline(e.x, functions.exp())
        total = ops.ReduceSum(e, axes=(1,))
    peaked = {"x": np.where(np.arange(40) == 3, 0.0, -30.0)[None]}
    found = calibrate(Graph((x,), {"y": total}), [peaked])[total]
    assert 0.98 < found.lo <= 1
    assert 40 * np.exp(SLACK) <= found.hi < 41 * np.exp(SLACK)
    flat = calibrate(Graph((x,), {"y": total}), [{"x": np.zeros((1, 40))}])[total]
    assert (flat.lo, flat.hi) == (found.lo, found.hi)


def test_what_attention_yields_before_it_is_divided_may_be_of_all_tokens():
    x, v = Input((40, 40), FLOAT, name="x"), Input((40, 2), FLOAT, name="v")
    _, _, product = softmax(x, v)
    values = np.tile([[5.0, -2.0]], (40, 1))
    peaked = {"x": np.where(np.eye(40) > 0, 0.0, -30.0), "v": values}
    found = calibrate(Graph((x, v), {"y": product}), [peaked], 2.0)[product]
    assert found.hi >= 40 * np.exp(SLACK) * 2 * 5
    assert found.lo <= -40 * np.exp(SLACK) * 2 * 2
    divided = ops.Mul(product, ops.Reciprocal(ops.ReduceSum(product.a, axes=(1,), keepdims=True)))
    mean = calibrate(Graph((x, v), {"y": divided}), [peaked], 2.0)[divided]
    assert 2 * 5 <= mean.hi <= 2 * 5.1
    other = ops.MatMul(ops.Exp(x), v)
    assert calibrate(Graph((x, v), {"y": other}), [peaked], 2.0)[other].hi < 20 * 5


def pooling():
    mask, h = Input((1, 8), INT, name="mask"), Input((8, 3), FLOAT, name="h")
    there = ops.Cast(mask, FLOAT)
    weights = ops.Div(there, ops.ReduceSum(there, axes=(1,), keepdims=True))
    return mask, h, weights, ops.MatMul(weights, ops.MatMul(h, ops.Const(np.eye(3, dtype=np.float32), True)))


def test_a_mean_over_few_tokens_is_as_large_as_one_of_them():
    mask, h, weights, mean = pooling()
    token = mean.b
    feeds = {"mask": np.ones((1, 8), np.int64), "h": np.array([[8.0, -8.0, 1.0], [-8.0, 8.0, 1.0]] * 4)}
    graph = Graph((mask, h), {"y": mean})
    ranges = calibrate(graph, [feeds], 2.0)
    assert ranges[mean].hi >= ranges[token].hi == 16
    assert ranges[mean].lo <= -16
    moved = ops.Transpose(ops.Reshape(mean, (3, 1)), (1, 0))
    assert calibrate(Graph((mask, h), {"y": moved}), [feeds], 2.0)[moved].hi >= 16
    twice = ops.MatMul(ops.Mul(weights, ops.Const(np.float32(2))), token)
    assert calibrate(Graph((mask, h), {"y": twice}), [feeds], 2.0)[twice].hi == 4


@pytest.mark.parametrize("floor", [False, True])
def test_a_normalised_mean_may_be_all_in_one_place(floor):
    mask, h, _, mean = pooling()
    root = ops.Sqrt(ops.ReduceSum(ops.Square(mean), axes=(1,), keepdims=True))
    unit = ops.Mul(mean, ops.Reciprocal(ops.Clip(root, lo=1e-12) if floor else root))
    feeds = {"mask": np.ones((1, 8), np.int64), "h": np.full((8, 3), 0.1)}
    assert 1 <= calibrate(Graph((mask, h), {"y": unit}), [feeds], 1.0)[unit].hi <= 1.02
    other = ops.Mul(mean, ops.Reciprocal(ops.Clip(root, hi=0.05)))
    assert calibrate(Graph((mask, h), {"y": other}), [feeds], 1.0)[other].hi > 1.5


def test_the_norm_of_a_mean_is_that_of_one_token_at_most():
    mask, h, weights, _ = pooling()
    total = ops.Add(ops.ReduceSum(ops.Square(h), axes=(1,), keepdims=True), ops.Const(np.float32(1e-9)))
    unit = ops.Mul(h, ops.Reciprocal(ops.Sqrt(total)))
    gamma, beta = (ops.Const(np.array(x, np.float32), True) for x in ([2.0, 3.0, -5.0], [0.0, 3.0, 4.0]))
    mean = ops.MatMul(weights, ops.Add(ops.Mul(unit, gamma), beta))
    squares = ops.ReduceSum(ops.Square(mean), axes=(1,), keepdims=True)
    feeds = {"mask": np.ones((1, 8), np.int64), "h": np.array([[1.0, 2.0, 3.0], [-1.0, -2.0, -3.0]] * 4)}
    found = calibrate(Graph((mask, h), {"y": squares}), [feeds], 2.0)
    assert 100 <= found[squares].hi <= 104  # (5 + 5)², of which β alone was seen
    assert found[squares].lo == pytest.approx(25 / 2, rel=1e-3)


# ---- a margin of amplitudes


def test_sums_of_squares_get_the_square_of_the_margin():
    mean = ops.Mul(ops.ReduceSum(ops.Square(X), axes=(1,), keepdims=True), ops.Const(np.float32(1 / 3)))
    variance = ops.Add(mean, ops.Const(np.float32(1e-12)))
    seen = [np.square(x["x"]).mean(axis=1) for x in FEEDS]
    for margin in (1.5, 2.0, 3.0):
        found = of(variance, margin)
        assert found.hi == pytest.approx(max(map(np.max, seen)) * margin**2, rel=1e-4)
        assert found.lo == pytest.approx(min(map(np.min, seen)) / margin, rel=1e-4)
        root = of(ops.Sqrt(variance), margin)
        assert root.hi == pytest.approx(np.sqrt(found.hi), rel=1e-4)
        for inverse in (ops.Reciprocal(variance), ops.Spline(variance, functions.reciprocal(0.01, 99.0))):
            reached = of(inverse, margin)
            assert reached.lo == pytest.approx(1 / found.hi, rel=1e-3)
            assert reached.hi == pytest.approx(1 / found.lo, rel=1e-3)


@pytest.mark.parametrize(
    "op", [ops.Neg(X), ops.Mul(X, ops.Const(np.float32(3))), ops.ReduceSum(X, axes=(1,))]
)
def test_other_values_get_the_margin_itself(op):
    seen = calibrate(Graph((X,), {"y": op}), FEEDS, 1.0)[op]
    assert of(op, 2.0).magnitude == pytest.approx(2 * seen.magnitude)


@pytest.mark.parametrize("op", [ops.Mul(X, X), ops.Reshape(ops.Square(X), (3, 2))])
def test_a_square_however_it_is_spelt_gets_the_square(op):
    assert of(op, 2.0).hi == 4 * 16


def test_whole_inputs_get_no_margin():
    ids = Input((3,), INT, name="ids")
    found = calibrate(Graph((ids,), {"y": ops.Cast(ids, FLOAT)}), [{"ids": np.array([0, 1, 1])}])[ids]
    assert (found.lo, found.hi) == (0, 1)


def test_a_look_up_may_yield_any_row():
    ids = Input((1,), ops.INT, name="ids")
    table = ops.Const(np.array([[0.0, 1.0], [50.0, -9.0]]), True)
    row = ops.MatMul(ops.OneHot(ops.Reshape(ids, (1,)), 2), table)
    found = calibrate(Graph((ids,), {"y": row}), [{"ids": np.array([0])}])[row]
    assert (found.lo, found.hi) == (-9, 50)


def test_nan_is_refused():
    with pytest.raises(ValueError, match="not a number"):
        calibrate(Graph((X,), {"y": ops.Sqrt(ops.Neg(X))}), FEEDS)
    with pytest.raises(ValueError, match="at least one"):
        calibrate(Graph((X,), {"y": X}), [])


def test_random_inputs_fit_the_model_and_repeat():
    graph = tiny_bert.tiny_bert()
    found = random_feeds(graph, 5, seed=3)
    assert all(
        np.array_equal(a[k], b[k])
        for a, b in zip(found, random_feeds(graph, 5, seed=3), strict=True)
        for k in a
    )
    assert not np.array_equal(found[0]["input_ids"], found[1]["input_ids"])
    assert max(each["input_ids"].max() for each in found) < tiny_bert.VOCABULARY
    lengths = {int(each["attention_mask"].sum()) for each in found}
    assert tiny_bert.SEQ in lengths
    assert len(lengths) > 1
    calibrate(graph, found)


def test_ranges_hold_for_every_op_of_a_model():
    graph = tiny_bert.tiny_bert()
    ranges = calibrate(graph, random_feeds(graph, 2))
    assert set(ranges) == set(walk(graph))
    assert all(isinstance(each, Range) and each.lo <= each.hi for each in ranges.values())


def test_a_sum_of_relus_may_be_down_to_epsilon_in_a_row_not_seen():
    e = ops.Relu(ops.Add(ops.Abs(X), ops.Const(np.float32(5))))
    for summed in (e, ops.Square(e)):
        total = ops.Add(ops.ReduceSum(summed, axes=(1,)), ops.Const(np.float32(0.25)))
        inverse = ops.Reciprocal(total)
        found = calibrate(Graph((X,), {"y": inverse}), FEEDS)
        assert found[total].lo == 0.25
        assert found[total].hi > 5
        assert found[inverse].hi == 4.0


def test_other_sums_keep_the_range_that_was_seen():
    e = ops.Abs(ops.Add(ops.Abs(X), ops.Const(np.float32(5))))
    total = ops.Add(ops.ReduceSum(e, axes=(1,)), ops.Const(np.float32(0.25)))
    bare = ops.ReduceSum(ops.Relu(e), axes=(1,))
    found = calibrate(Graph((X,), {"y": ops.Reciprocal(total), "z": ops.Reciprocal(bare)}), FEEDS)
    assert found[total].lo > 1
    assert found[bare].lo > 1


def test_what_is_typical_of_a_masked_value_is_what_is_so_without_the_mask():
    x, mask = Input((2, 4), FLOAT, name="x"), Input((1, 4), FLOAT, name="mask")
    scores = ops.MatMul(x, ops.Const(np.eye(4, dtype=np.float32), True))
    masked = ops.Add(scores, ops.Mul(mask, ops.Const(np.array(-1e4))))
    scaled = ops.Mul(ops.Reshape(masked, (4, 2)), ops.Const(np.array(0.5), True))
    mild = ops.Add(scores, ops.Mul(mask, ops.Const(np.array(-100.0))))
    feeds = {"x": np.ones((2, 4)), "mask": np.array([[0.0, 0, 0, 1]])}
    ranges = calibrate(Graph((x, mask), {"y": scaled, "z": mild}), [feeds], margin=1.0)
    assert (ranges[masked].lo, ranges[masked].hi, ranges[masked].rms) == (-9999.0, 1.0, 1.0)
    assert (ranges[scaled].lo, ranges[scaled].rms) == (-9999.0 / 2, 0.5)
    assert ranges[mild].rms > 40


def test_ranges_are_the_same_on_any_number_of_cores(monkeypatch):
    graph = tiny_bert.tiny_bert()
    found = []
    for cores in (1, 2, 64):
        monkeypatch.setattr(os, "sched_getaffinity", lambda pid, cores=cores: set(range(cores)))
        ranges = calibrate(graph, random_feeds(graph, 6))
        found.append([ranges[op] for op in walk(graph)])
    assert found[0] == found[1] == found[2]


def test_one_set_of_inputs_that_is_wrong_is_told_of_among_several():
    bad = {"x": np.full((2, 3), -1.0)}
    with pytest.raises(RangeError, match="not a number"):
        calibrate(Graph((X,), {"y": ops.Sqrt(X)}), [*FEEDS, bad, *FEEDS])
