"""The simulator against plain integers, and against the reals."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from ppc.frontend.ir import fixed, ops
from ppc.frontend.ir.graph import FLOAT, Graph, Input
from ppc.frontend.ir.reference import evaluate
from ppc.passes import functions
from ppc.runtime.base.ring import Fixed

X = Input((2, 3), FLOAT, name="x")
FEEDS = {"x": np.array([[1.5, -2.25, 0.125], [3.0, -0.5, 1.0]])}
NUM = Fixed(24, 8)


def encoded(num=NUM):
    return ops.Cast(X, num)


def ints(op, feeds=FEEDS):
    return fixed.evaluate_all(Graph((X,), {"y": op}), feeds)[op]


@pytest.mark.parametrize(
    "build",
    [
        lambda x: ops.Add(x, x),
        lambda x: ops.Sub(x, ops.Neg(x)),
        lambda x: ops.Mul(x, x),
        ops.Square,
        lambda x: ops.MatMul(x, ops.Transpose(x, (1, 0))),
        lambda x: ops.ReduceSum(x, axes=(1,)),
        lambda x: ops.ReduceMax(x, axes=(1,)),
        lambda x: ops.Concat((x, ops.Reshape(x, (2, 3))), axis=0),
        lambda x: ops.Slice(ops.Broadcast(x, (4, 2, 3)), (0,), (2,), (2,), (1,)),
        lambda x: ops.Gather(x, ops.Const(np.array([1])), axis=1),
        lambda x: ops.Rescale(x, Fixed(20, 3)),
    ],
)
def test_exact_where_the_reals_are(build):
    graph = Graph((X,), {"y": build(encoded())})
    assert_allclose(fixed.evaluate(graph, FEEDS)["y"], evaluate(graph, FEEDS)["y"], rtol=0, atol=0.0)


def test_rounding_is_to_nearest():
    out = ints(ops.Rescale(encoded(), Fixed(20, 1)))
    assert_array_equal(out, [[3, -4, 0], [6, -1, 2]])


def test_products_wrap_as_the_ring_does():
    small = Fixed(12, 8)
    value = np.rint(FEEDS["x"] * 256).astype(np.int64)
    want = (value * value + 2**11) % 2**12 - 2**11
    assert_array_equal(ints(ops.Square(encoded(small))), want)


def test_large_matrix_products_stay_exact():
    wide = Fixed(64, 30)
    x = encoded(wide)
    value = np.rint(FEEDS["x"] * 2.0**30).astype(object)
    want = (value @ value.T + 2**63) % 2**64 - 2**63
    assert_array_equal(ints(ops.MatMul(x, ops.Transpose(x, (1, 0)))), want.astype(np.int64))


def test_a_value_too_large_to_truncate_is_told():
    x = ops.Rescale(encoded(Fixed(11, 8)), Fixed(12, 7))
    with pytest.raises(fixed.Overflow, match="beyond what i11f8 can truncate"):
        ints(x)
    assert_array_equal(ints(ops.Rescale(encoded(Fixed(12, 8)), Fixed(13, 7)))[1], [384, -64, 128])


def test_dropping_into_a_small_ring_needs_no_room():
    assert_array_equal(ints(ops.Rescale(encoded(Fixed(11, 8)), Fixed(10, 7)))[1], [384, -64, 128])


def test_an_input_too_large_to_encode_is_told():
    with pytest.raises(fixed.Overflow, match="does not fit i8f6"):
        ints(encoded(Fixed(8, 6)))


@pytest.mark.parametrize("name", ["relu", "gelu", "tanh"])
def test_a_spline_follows_its_reals(name):
    spec = getattr(functions, name)()
    op = ops.Spline(encoded(), spec, num=Fixed(20, 8), quad=Fixed(40, 30), width=16)
    graph = Graph((X,), {"y": op})
    assert_allclose(fixed.evaluate(graph, FEEDS)["y"], spec.evaluate(FEEDS["x"]), atol=1.5 / 256)


def test_what_has_no_meaning_is_refused():
    with pytest.raises(fixed.IRError, match="no meaning"):
        ints(ops.Exp(encoded()))
