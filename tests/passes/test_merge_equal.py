import numpy as np
from rewriting import becomes, graph, inp, num, refuses, row

from ppc.frontend.ir import ops
from ppc.passes.merge_equal import merge_equal

X = inp(2, 3)


def test_equal_ops_are_one() -> None:
    g = graph(ops.Mul(ops.Add(X, num(2)), ops.Add(X, num(2))))
    becomes(merge_equal, g, "%0 = Input(x)\n%1 = Const(2)\n%2 = Add(%0, %1)\n%3 = Mul(%2, %2)")


def test_another_attribute() -> None:
    refuses(merge_equal, graph(ops.Add(ops.Softmax(X, -1), ops.Softmax(X, 0))))


def test_another_operand() -> None:
    refuses(merge_equal, graph(ops.Add(ops.Tanh(X), ops.Tanh(inp(2, 3, name="z")))))


def test_another_value() -> None:
    refuses(merge_equal, graph(ops.Add(ops.Add(X, num(1)), num(2))))


def test_a_secret_is_not_merged_with_what_is_public() -> None:
    same = (row(1, 2, 3, secret=True), row(1, 2, 3, secret=False))
    refuses(merge_equal, graph(ops.Add(ops.Add(X, same[0]), same[1])))


def test_another_kind_of_number() -> None:
    of_bits = ops.Const(np.array([1.0])), ops.Const(np.array([1.0]).view(np.int64))
    refuses(merge_equal, graph(ops.Add(X, of_bits[0]), ops.Add(X, of_bits[1])))


def test_large_weights_are_compared_by_identity() -> None:
    value = np.zeros((3, 2000), np.float32)
    once, again, copied = ops.Const(value, True), ops.Const(value, True), ops.Const(value.copy(), True)
    shared = ops.Add(ops.MatMul(X, once), ops.MatMul(X, copied))
    refuses(merge_equal, graph(shared))
    assert once is not again
