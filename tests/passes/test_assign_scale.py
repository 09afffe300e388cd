from dataclasses import replace

import numpy as np
import pytest
from numpy.testing import assert_allclose

from ppc.frontend.ir import fixed, ops
from ppc.frontend.ir.graph import FLOAT, Graph, Input, IRError, walk
from ppc.frontend.ir.reference import evaluate
from ppc.frontend.ir.text import show
from ppc.passes import functions
from ppc.passes.assign_scale import assign_scale, is_local
from ppc.passes.calibrate import Range, calibrate
from ppc.passes.errors import RangeError
from ppc.passes.formats import Precision, integer_bits
from ppc.runtime.base.ring import Fixed

RNG = np.random.default_rng(0)
X = Input((4, 8), FLOAT, name="x")
FEEDS = [{"x": RNG.normal(size=(4, 8))} for _ in range(3)]


def weight(*shape):
    return ops.Const(RNG.normal(size=shape).astype(np.float32), True)


def assigned(y, **precision):
    graph = Graph((X,), y if isinstance(y, dict) else {"y": y})
    return assign_scale(graph, calibrate(graph, FEEDS), Precision(**precision))


def steps(done, kind):
    return [op for op in walk(done.graph) if isinstance(op, kind)]


def truncations(done):
    return [op for op in steps(done, ops.Rescale) if op.num.scale < op.x.type.num.scale]


def test_two_layers_printed():
    rng = np.random.default_rng(1)
    w, b, u = (ops.Const(rng.normal(size=shape).astype(np.float32), True) for shape in ((8, 8), (8,), (8, 2)))
    hidden = ops.Spline(ops.Add(ops.MatMul(X, w), b), functions.relu(), name="hidden")
    graph = Graph((X,), {"y": ops.MatMul(hidden, u, name="y")})
    ranges = {op: Range(-1.0, 1.0, 1.0) for op in walk(graph)}
    assert show(assign_scale(graph, ranges, Precision(value=9, weight=9)).graph) == (
        "%0 = Input(x) : f32[4,8]\n"
        "%1 = Cast(%0, to=i23f11) : i23f11[4,8]  # x\n"
        "%2 = Const(secret) : i23f9[8,8]\n"
        "%3 = MatMul(%1, %2) : i23f20[4,8]\n"
        "%4 = Const(secret) : i23f20[8]\n"
        "%5 = Add(%3, %4) : i23f20[4,8]\n"
        "%6 = Rescale(%5, num=i12f9) : i12f9[4,8]\n"
        "%7 = Spline(%6, num=i21f9, spline=relu/1, quad=i2f18, width=11) : i21f9[4,8]  # hidden\n"
        "%8 = Const(secret) : i21f9[8,2]\n"
        "%9 = MatMul(%7, %8) : i21f18[4,2]  # y\n"
        "%10 = Rescale(%9, num=i12f9) : i12f9[4,2]  # y\n"
        "return y=%10\n"
    )


def test_meaning_is_kept():
    """Over the reals nothing changes but the weights of splines; in integers, little."""
    y = ops.MatMul(ops.Spline(ops.MatMul(X, weight(8, 6)), functions.gelu()), weight(6, 3))
    done = assigned(y)
    for feeds in FEEDS:
        exact = evaluate(Graph((X,), {"y": y}), feeds)["y"]
        assert_allclose(evaluate(done.graph, feeds)["y"], exact, atol=0.01)
        assert_allclose(fixed.evaluate(done.graph, feeds)["y"], exact, atol=0.05)


def test_what_the_client_and_the_server_bring_is_added():
    """No operand is shared yet, so that none has a scale to go by."""
    y = ops.Add(X, weight(4, 8))
    exact = evaluate(Graph((X,), {"y": y}), FEEDS[0])["y"]
    assert_allclose(fixed.evaluate(assigned(y).graph, FEEDS[0])["y"], exact, atol=0.01)


def test_more_precision_is_more_exact():
    y = ops.MatMul(ops.MatMul(X, weight(8, 6)), weight(6, 3))
    exact = evaluate(Graph((X,), {"y": y}), FEEDS[0])["y"]
    off = [
        np.abs(fixed.evaluate(assigned(y, value=n, weight=n).graph, FEEDS[0])["y"] - exact).max()
        for n in (6, 9, 12)
    ]
    assert off[0] > 3 * off[1] > 9 * off[2]


def test_rings_are_the_smallest():
    done = assigned(ops.MatMul(ops.Spline(ops.MatMul(X, weight(8, 6)), functions.gelu()), weight(6, 3)))
    for op in truncations(done):
        source = op.x.type.num
        need = integer_bits(done.ranges[op.x].magnitude) + source.scale + 2
        assert source.bits == need


@pytest.mark.parametrize("function", [functions.tanh, functions.sigmoid])
def test_what_ends_at_a_power_of_two_has_room_for_what_is_rounded(function):
    """Two parties come a unit or two beyond 1 at times, and the ring of 1 itself was left by that."""
    product = ops.MatMul(X, weight(8, 8))
    h = ops.Spline(product, function(), name="h")
    relu = ops.Spline(h, functions.relu())
    graph = Graph((X,), {"y": ops.MatMul(relu, weight(8, 2)), "z": ops.MatMul(h, weight(8, 2))})
    ranges = {op: Range(-1.0, 1.0, 1.0) for op in walk(graph)} | {product: Range(-9.0, 9.0, 3.0)}
    done = assign_scale(graph, ranges, Precision(), guard=False)
    for op in truncations(done):
        assert 1.01 * 2**op.x.type.num.scale < 2 ** (op.x.type.num.bits - 2)
    curved, straight = steps(done, ops.Spline)
    assert 1.01 * 2**curved.quad.scale < 2 ** (curved.quad.bits - 2)
    assert 1.01 * 2**straight.x.type.num.scale < 2 ** (straight.width - 1)


def test_a_sum_of_products_is_truncated_once():
    total = ops.Add(ops.MatMul(X, weight(8, 6)), ops.Add(ops.MatMul(ops.Neg(X), weight(8, 6)), weight(6)))
    assert len(truncations(assigned(ops.MatMul(total, weight(6, 2))))) == 2


def test_a_residual_is_multiplied_up_and_not_truncated():
    h = ops.Spline(ops.MatMul(X, weight(8, 8)), functions.tanh())
    done = assigned(ops.MatMul(ops.Add(ops.MatMul(h, weight(8, 8)), h), weight(8, 2)))
    (up,) = steps(done, ops.Mul)
    factor = up.b
    assert ops.scalar(factor) == 1.0
    assert factor.type.num.scale > 0
    assert len(truncations(done)) == 3


def test_an_operand_is_rescaled_once_for_all_its_users():
    h = ops.MatMul(X, weight(8, 8))
    done = assigned({"q": ops.MatMul(h, weight(8, 4)), "k": ops.MatMul(h, weight(8, 4))})
    products = [op for op in steps(done, ops.MatMul) if op.type.shape == (4, 4)]
    assert products[0].a is products[1].a
    assert len(truncations(done)) == 3


def test_products_of_one_value_share_a_ring():
    h = ops.MatMul(X, weight(8, 8))
    wide = ops.Const((50 * RNG.normal(size=(8, 4))).astype(np.float32), True)
    done = assigned({"q": ops.MatMul(h, weight(8, 4)), "k": ops.MatMul(h, wide)})
    assert len({op.type.num.bits for op in steps(done, ops.MatMul) if op.type.shape == (4, 4)}) == 1


def test_a_rows_mean_does_not_inflate_the_ring():
    h = ops.MatMul(X, weight(8, 8))
    mean = ops.Mul(ops.ReduceSum(h, axes=(1,)), ops.Const(1 / 8))
    done = assigned(ops.MatMul(ops.Sub(h, mean), weight(8, 2)))
    (centred,) = steps(done, ops.Sub)
    assert centred.type.num.scale == centred.a.type.num.scale == steps(done, ops.MatMul)[0].type.num.scale


def test_one_hot_rows_have_no_scale():
    ids = Input((4,), ops.INT, name="ids")
    graph = Graph((ids,), {"y": ops.MatMul(ops.OneHot(ids, 9), weight(9, 3))})
    done = assign_scale(graph, calibrate(graph, [{"ids": np.arange(4)}]))
    (product,) = steps(done, ops.MatMul)
    assert product.a.type.num.scale == 0
    assert product.type.num.bits < 20


def test_exact_factors_take_no_more_bits_than_they_need():
    done = assigned(ops.Mul(ops.MatMul(X, weight(8, 8)), ops.Const(0.5)))
    (half,) = (op for op in steps(done, ops.Const) if op.value.size == 1)
    assert half.type.num.scale == 1


def test_a_spline_says_its_quadratics_and_its_width():
    (spline,) = steps(assigned(ops.Spline(ops.MatMul(X, weight(8, 8)), functions.sigmoid())), ops.Spline)
    x = spline.x.type.num
    assert spline.quad.scale >= 2 * x.scale
    assert x.bits >= max(spline.quad.bits, spline.width)
    assert spline.width < spline.quad.bits <= 33


def test_what_shares_cannot_compute_is_refused():
    with pytest.raises(IRError, match="no way to compute it on shares"):
        assigned(ops.Exp(ops.MatMul(X, weight(8, 8))))


def test_a_range_beyond_64_bits_is_refused():
    graph = Graph((X,), {"y": ops.MatMul(X, weight(8, 8), name="wide")})
    ranges = calibrate(graph, FEEDS)
    for most in (1e15, np.inf):
        ranges[graph.outputs["y"]] = Range(0.0, most, 1.0)
        with pytest.raises(ValueError, match=r"wide.*needs a ring of"):
            assign_scale(graph, ranges)


def test_a_spline_that_no_coefficients_hold_is_refused_by_name():
    x = ops.MatMul(X, weight(8, 8), name="stream")
    spline = functions.sigmoid()
    thirds = tuple((a / 3, b / 3, c / 3) for a, b, c in spline.pieces)  # which no power of two makes whole
    steep = replace(spline, pieces=thirds, error=1e-30)
    graph = Graph((X,), {"y": ops.Spline(x, steep)})
    with pytest.raises(RangeError, match=r"sigmoid of stream : f32.*no 60 bits.*in \[-.*calibrate on data"):
        assign_scale(graph, calibrate(graph, FEEDS))


@pytest.mark.parametrize(
    ("old", "new", "local"),
    [
        (Fixed(30, 20), Fixed(20, 10), True),
        (Fixed(30, 20), Fixed(21, 10), False),
        (Fixed(30, 20), Fixed(12, 20), True),
        (Fixed(30, 20), Fixed(31, 20), False),
    ],
)
def test_local_rescaling(old, new, local):
    assert is_local(old, new) is local


@pytest.mark.parametrize(("summed", "bits"), [(2, 10), (32, 8), (512, 6)])
def test_squares_keep_less_the_more_of_them_are_summed(summed, bits):
    """Their rounding errors average out to 1/√n."""
    x = ops.MatMul(X, weight(8, summed))
    graph = Graph((X,), {"y": ops.ReduceSum(ops.Square(x), axes=(1,), keepdims=True)})
    ranges = {op: Range(-1.0, 1.0, 1.0) for op in walk(graph)}
    (square,) = steps(assign_scale(graph, ranges, Precision(square=11)), ops.Square)
    assert square.x.type.num.scale == bits


def test_what_two_activations_are_multiplied_with_number_by_number_has_bits_of_its_own():
    gate, up, row = (ops.MatMul(X, weight(8, n)) for n in (6, 6, 1))
    graph = Graph((X,), {"gated": ops.Mul(gate, up), "scaled": ops.Mul(gate, row), "row": ops.Mul(row, row)})
    ranges = {op: Range(-1.0, 1.0, 1.0) for op in walk(graph)}
    done = assign_scale(graph, ranges, Precision(value=10, gated=7)).graph.outputs
    assert {name: op.x.type.num.scale for name, op in done.items()} == {"gated": 14, "scaled": 20, "row": 20}


def test_a_table_is_looked_up_in_as_small_a_ring_as_holds_it():
    """Of the client's choice there is a number to open for each row."""
    ids = Input((4,), ops.INT, name="ids")
    rows = ops.MatMul(ops.OneHot(ids, 64), weight(64, 8))
    graph = Graph((ids,), {"y": ops.MatMul(rows, weight(8, 512))})
    ranges = {op: Range(-1.0, 1.0, 1.0) for op in walk(graph)} | {graph.outputs["y"]: Range(-1e4, 1e4, 1e4)}
    (looked, product) = steps(assign_scale(graph, ranges), ops.MatMul)
    assert looked.type.num.bits < 15 < product.type.num.bits


PAST = Input((1, 5, 8), FLOAT, name="k", carried=True)


def cached(past=PAST):
    """Scores of rows over those that earlier runs have left and a new one, which is left in turn."""
    new = ops.MatMul(X, weight(8, 8), name="new")
    keys = ops.Concat((past, ops.Slice(ops.Reshape(new, (1, 4, 8)), (3,), (4,), (1,), (1,))), 1)
    scores = ops.MatMul(ops.Reshape(new, (1, 4, 8)), ops.Transpose(keys, (0, 2, 1)))
    return Graph((X, past), {"y": scores, "k": keys.xs[1]})


def cached_feeds():
    return [{"x": RNG.normal(size=(4, 8)), "k": 3 * RNG.normal(size=(1, 5, 8))} for _ in range(3)]


def test_what_is_carried_stays_in_its_format_and_is_never_truncated():
    graph, kept = cached(), Fixed(48, 9)
    done = assign_scale(graph, calibrate(graph, cached_feeds()), carried={"k": kept})
    (entered,) = [op for op in steps(done, ops.Cast) if op.x is PAST]
    assert entered.type.num == done.graph.outputs["k"].type.num == kept
    read = [op for op in steps(done, ops.Rescale) if op.type.size > 4 * 8]
    assert read
    assert all(is_local(op.x.type.num, op.num) for op in read)


def test_the_graph_that_leaves_it_first_settles_a_wide_ring():
    graph = Graph((X,), {"k": ops.MatMul(X, weight(8, 8))})
    ranges = calibrate(graph, FEEDS)
    left, told = (assign_scale(graph, ranges, carried=carried) for carried in ({"k": None}, {}))
    assert left.graph.outputs["k"].type.num.bits == 48 > told.graph.outputs["k"].type.num.bits
    assert left.graph.outputs["k"].type.num.scale == told.graph.outputs["k"].type.num.scale


def test_what_no_graph_has_left_cannot_be_read():
    graph = cached()
    with pytest.raises(IRError, match="input k is carried over, and no graph has settled its format"):
        assign_scale(graph, calibrate(graph, cached_feeds()), carried={"k": None})


def test_reading_it_means_what_it_meant():
    graph = cached()
    feeds = cached_feeds()
    done = assign_scale(graph, calibrate(graph, feeds), carried={"k": Fixed(48, 9)})
    wanted, got = evaluate(graph, feeds[0])["y"], fixed.evaluate(done.graph, feeds[0])["y"]
    assert_allclose(got, wanted, atol=0.02 * wanted.std())
