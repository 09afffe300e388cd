from rewriting import becomes, graph, inp, num, refuses

from ppc.frontend.ir import ops
from ppc.frontend.ir.graph import Graph, Op
from ppc.passes.canonicalize import canonicalize
from ppc.passes.fuse_softmax import fuse_softmax
from ppc.passes.rewrite import Rewritten

X = inp(2, 3)
Z = inp(2, 3, name="z")
SOFTMAX = "%0 = Input(x)\n%1 = Softmax(%0, axis=-1)"


def fused(g: Graph) -> Rewritten:
    done = fuse_softmax(canonicalize(g).graph)
    return Rewritten(canonicalize(done.graph).graph, done.count, done.refusals)


def refused(g: Graph, *reasons: str) -> None:
    refuses(fuse_softmax, canonicalize(g).graph, *reasons)


def pieces(x: Op, axes: tuple[int, ...] = (-1,), keepdims: bool = True) -> Op:
    e = ops.Exp(x)
    return ops.Div(e, ops.ReduceSum(e, axes, keepdims))


def test_with_the_maximum_and_without() -> None:
    becomes(fused, graph(pieces(X)), SOFTMAX)
    becomes(fused, graph(pieces(ops.Sub(X, ops.ReduceMax(X, (1,))))), SOFTMAX)


def test_times_the_reciprocal() -> None:
    e = ops.Exp(X)
    becomes(fused, graph(ops.Mul(e, ops.Reciprocal(ops.ReduceSum(e, (1,))))), SOFTMAX)


def test_computed_twice() -> None:
    op = ops.Div(ops.Exp(ops.Add(X, num(2))), ops.ReduceSum(ops.Exp(ops.Add(X, num(2))), (1,)))
    becomes(fused, graph(op), "%0 = Input(x)\n%1 = Const(2)\n%2 = Add(%0, %1)\n%3 = Softmax(%2, axis=-1)")


def test_over_another_axis() -> None:
    expected = "%0 = Input(x)\n%1 = Transpose(%0, perm=(1,0))\n%2 = Softmax(%1, axis=-1)"
    becomes(fused, graph(pieces(X, (0,))), f"{expected}\n%3 = Transpose(%2, perm=(1,0))")


def test_what_is_made_is_canonical() -> None:
    for axis in (0, 1):
        done = fuse_softmax(canonicalize(graph(pieces(X, (axis,)))).graph)
        assert canonicalize(done.graph).count == 0


def test_the_sum_of_another_value() -> None:
    refused(graph(ops.Div(ops.Exp(X), ops.ReduceSum(ops.Exp(Z), (1,)))), "another value")


def test_over_two_axes() -> None:
    refused(graph(pieces(X, (0, 1))), "over axes (0, 1)")


def test_something_added_to_the_sum() -> None:
    e = ops.Exp(X)
    refused(graph(ops.Div(e, ops.Add(ops.ReduceSum(e, (1,)), num(1)))), "added to the sum")


def test_an_exponential_with_another_user() -> None:
    e = ops.Exp(X)
    refused(graph(ops.Div(e, ops.ReduceSum(e, (1,))), e), "another user")


def test_a_shift_that_differs_within_the_row() -> None:
    refused(graph(ops.Softmax(ops.Sub(X, Z))), "differs within a row")


def test_a_shift_by_a_value_a_row() -> None:
    becomes(
        fused,
        graph(ops.Softmax(ops.Sub(X, inp(2, 1, name="z")))),
        "%0 = Input(x)\n%1 = Input(z)\n%2 = Softmax(%0, axis=-1)",
    )
