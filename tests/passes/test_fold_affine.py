import numpy as np
import pytest
from rewriting import graph, inp, num, row, same_value, text

from ppc.frontend.ir import ops
from ppc.passes.fold_affine import fold_affine
from ppc.passes.fold_scale import fold_scale

RNG = np.random.default_rng(0)
W = ops.Const(RNG.normal(size=(3, 2)).astype(np.float32), True, name="w")
U = ops.Const(RNG.normal(size=(3, 3)).astype(np.float32), True)
G, B = row(1, 2, 0.5), row(0.1, -1, 3)
X = inp(4, 3)


def hidden():
    return ops.MatMul(X, U)


def mean(x):
    return ops.ReduceMean(x, axes=(x.type.rank - 1,), keepdims=True)


def mean_as_sum(x):
    return ops.Mul(ops.ReduceSum(x, axes=(x.type.rank - 1,), keepdims=True), num(1 / 3))


FOLDED = "%0 = Input(x)\n%1 = Const(secret)\n%2 = MatMul(%0, %1)\n%3 = Const(secret)\n%4 = MatMul(%2, %3)"
SHIFTED = f"{FOLDED}\n%5 = Const(secret)\n%6 = Add(%4, %5)"


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (lambda x: ops.Mul(x, G), FOLDED),
        (lambda x: ops.Mul(G, x), FOLDED),
        (lambda x: ops.Mul(x, num(2.0)), FOLDED),
        (lambda x: ops.Mul(x, row(3.0)), FOLDED),
        (lambda x: ops.Sub(x, mean(x)), FOLDED),
        (lambda x: ops.Sub(x, mean_as_sum(x)), FOLDED),
        (lambda x: ops.Add(x, B), SHIFTED),
        (lambda x: ops.Add(num(2.0), x), SHIFTED),
        (lambda x: ops.Add(ops.Mul(ops.Sub(x, mean(x)), G), B), SHIFTED),
    ],
)
def test_one_product_is_left(value, expected):
    before = graph(ops.MatMul(value(hidden()), W, name="y"))
    after = fold_affine(before)
    assert text(after) == expected
    assert after.outputs["y"].name == "y"
    same_value(before, after)


def test_every_product_that_reads_the_value_takes_its_part():
    value = ops.Add(ops.Mul(hidden(), G), B)
    before = graph(ops.MatMul(value, W), ops.MatMul(value, U))
    after = fold_affine(before)
    assert "Mul(" not in text(after).replace("MatMul(", "")
    same_value(before, after)


def other_reader(value):
    return graph(ops.Add(ops.MatMul(value, U), value))


def as_output(value):
    return graph(ops.MatMul(value, W), value)


def on_the_right(value):
    return graph(ops.MatMul(ops.Const(np.ones((5, 4), np.float32), True), value))


def of_two_shares(value):
    return graph(ops.MatMul(value, ops.Transpose(hidden(), (1, 0))))


@pytest.mark.parametrize("reader", [other_reader, as_output, on_the_right, of_two_shares])
def test_another_reader_needs_the_value(reader):
    before = reader(ops.Mul(hidden(), G))
    assert fold_affine(before) is before


@pytest.mark.parametrize(
    "value",
    [
        lambda x: ops.Mul(x, ops.Const(np.ones((4, 1), np.float32), True)),  # a number for each row
        lambda x: ops.Mul(x, ops.Const(np.ones((4, 3), np.float32), True)),
        lambda x: ops.Mul(x, ops.Neg(x)),
        lambda x: ops.Sub(x, mean(ops.Neg(x))),
        lambda x: ops.Sub(x, ops.ReduceMean(x, axes=(0,), keepdims=True)),
        lambda x: ops.Sub(x, ops.Mul(ops.ReduceSum(x, axes=(1,), keepdims=True), num(0.3))),
        lambda x: ops.Sub(x, ops.ReduceMax(x, axes=(1,), keepdims=True)),
        ops.Relu,
    ],
)
def test_what_is_no_row_stays(value):
    before = graph(ops.MatMul(value(hidden()), W))
    assert fold_affine(before) is before


def test_what_makes_the_value_larger_stays():
    one = ops.ReduceSum(hidden(), axes=(1,), keepdims=True)
    before = graph(ops.MatMul(ops.Mul(one, G), W))
    assert fold_affine(before) is before


def test_the_clients_own_values_stay():
    before = graph(ops.MatMul(ops.Mul(X, num(2.0)), W))
    assert fold_affine(before) is before


def test_a_secret_row_makes_the_weight_secret():
    public = ops.Const(np.ones((3, 2), np.float32))
    after = fold_affine(graph(ops.MatMul(ops.Mul(hidden(), G), public)))
    (weight,) = (op for op in after.outputs["y"].operands if isinstance(op, ops.Const))
    assert weight.secret
    assert fold_scale(after).graph is after
