import numpy as np
import pytest
import tiny_bert

from ppc.frontend.ir import ops
from ppc.frontend.ir.graph import FLOAT, Graph, Input, walk
from ppc.passes import functions
from ppc.passes.calibrate import Range, bounds, calibrate
from ppc.passes.draw_inputs import random_feeds

X = Input((2, 3), FLOAT, name="x")
FEEDS = [
    {"x": np.array([[1.0, 2.0, 4.0], [1.0, 1.0, 1.0]])},
    {"x": np.array([[0.5, 1.0, 1.0], [2.0, 2.0, 3.0]])},
]


def of(op, margin=1.5):
    return calibrate(Graph((X,), {"y": op}), FEEDS, margin)[op]


def test_range_spans_all_data_and_is_widened():
    assert (of(ops.Neg(X)).lo, of(ops.Neg(X)).hi) == (-6.0, -0.5 / 1.5)
    assert (of(ops.Neg(X), 2.0).lo, of(ops.Neg(X), 2.0).hi) == (-8.0, -0.25)


def test_positive_values_stay_positive():
    assert of(ops.Sqrt(X)).lo > 0


def test_constants_get_no_margin():
    const = ops.Const(np.array([1.0, -2.0]))
    found = calibrate(Graph((), {"y": const}), [{}])[const]
    assert (found.lo, found.hi) == (-2.0, 1.0)


def test_rms_is_of_the_quieter_rows():
    assert of(ops.Neg(X)).rms < np.sqrt(np.mean(FEEDS[0]["x"] ** 2))
    assert 0.8 < of(ops.Neg(X)).rms < 2


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
    assert found.hi <= hi + 1e-3
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
    assert of(unit, 9.0).hi <= 1.01
    other = ops.Mul(ops.Neg(X), ops.Spline(total, functions.rsqrt(1.0, 40.0)))
    assert of(other, 9.0).lo < -2


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
