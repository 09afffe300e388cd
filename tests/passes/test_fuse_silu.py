from rewriting import becomes, graph, inp, num, refuses, row

from ppc.frontend.ir import ops
from ppc.frontend.ir.graph import Graph
from ppc.passes.canonicalize import canonicalize
from ppc.passes.fuse_silu import fuse_silu
from ppc.passes.rewrite import Rewritten

X = inp(2, 3)
Z = inp(2, 3, name="z")


def fused(g: Graph) -> Rewritten:
    return fuse_silu(canonicalize(g).graph)


def refused(g: Graph, *reasons: str) -> None:
    refuses(fuse_silu, canonicalize(g).graph, *reasons)


def logistic(one: float = 1) -> ops.Op:
    return ops.Div(num(1), ops.Add(num(one), ops.Exp(ops.Neg(X))))


def test_sigmoid_from_its_pieces() -> None:
    becomes(fused, graph(logistic()), "%0 = Input(x)\n%1 = Sigmoid(%0)")


def test_silu_either_way_round() -> None:
    becomes(fused, graph(ops.Mul(X, ops.Sigmoid(X))), "%0 = Input(x)\n%1 = Silu(%0)")
    becomes(fused, graph(ops.Mul(ops.Sigmoid(X), X)), "%0 = Input(x)\n%1 = Silu(%0)")


def test_silu_from_all_its_pieces() -> None:
    becomes(fused, graph(ops.Div(X, ops.Add(ops.Exp(ops.Neg(X)), num(1)))), "%0 = Input(x)\n%1 = Silu(%0)")
    becomes(fused, graph(ops.Mul(X, logistic())), "%0 = Input(x)\n%1 = Silu(%0)")


def test_quick_gelu() -> None:
    expected = "%0 = Input(x)\n%1 = Const(1.702)\n%2 = Mul(%0, %1)\n%3 = Silu(%2)\n%4 = Const(0.5875441)"
    becomes(fused, graph(ops.Mul(X, ops.Sigmoid(ops.Mul(X, num(1.702))))), f"{expected}\n%5 = Mul(%3, %4)")


def test_a_learned_factor_stays_secret() -> None:
    learned = ops.Const(row(1.3).value, True)
    expected = "%0 = Input(x)\n%1 = Const(secret)\n%2 = Mul(%0, %1)\n%3 = Silu(%2)\n%4 = Const(secret)"
    becomes(fused, graph(ops.Mul(X, ops.Sigmoid(ops.Mul(X, learned)))), f"{expected}\n%5 = Mul(%3, %4)")


def test_a_sigmoid_of_another_value() -> None:
    refused(graph(ops.Mul(Z, ops.Sigmoid(X))), "of another value")


def test_a_shifted_sigmoid() -> None:
    refused(graph(ops.Mul(X, ops.Sigmoid(ops.Add(X, num(1))))), "of another value")


def test_a_sigmoid_with_another_user() -> None:
    gate = ops.Sigmoid(X)
    refused(graph(ops.Mul(X, gate), gate), "another user")


def test_another_summand() -> None:
    refused(graph(logistic(one=2)), "is not 1")
