import math

import pytest
from rewriting import becomes, graph, inp, kinds, num, refuses

from ppc.frontend.ir import ops
from ppc.frontend.ir.graph import Graph, Op
from ppc.passes.canonicalize import canonicalize
from ppc.passes.fuse_gelu import fuse_gelu
from ppc.passes.rewrite import Rewritten

X = inp(2, 3)
ROOT = 1.4142135
K = math.sqrt(2 / math.pi)
ONE = num(1)


def fused(g: Graph) -> Rewritten:
    """As in the pipeline: one spelling first."""
    return fuse_gelu(canonicalize(g).graph)


def erf(x: Op = X, root: float = ROOT) -> Op:
    return ops.Erf(ops.Div(x, num(root)))


def cubic(x: Op = X, c: float = 0.044715, k: float = K) -> Op:
    return ops.Mul(ops.Add(x, ops.Mul(ops.Pow(x, num(3)), num(c))), num(k))


def half(x: Op) -> Op:
    return ops.Mul(x, num(0.5))


ERF_FORMS: dict[str, Op] = {
    "torch": half(ops.Mul(X, ops.Add(erf(), ONE))),
    "half first": ops.Mul(half(X), ops.Add(erf(), ONE)),
    "half last, left": ops.Mul(num(0.5), ops.Mul(ops.Add(ONE, erf()), X)),
    "half in the gate": ops.Mul(X, half(ops.Add(erf(), ONE))),
    "half inside": ops.Mul(X, ops.Add(half(erf()), num(0.5))),
    "divided by two": ops.Div(ops.Mul(X, ops.Add(ONE, erf())), num(2)),
    "times the inverse root": half(ops.Mul(X, ops.Add(ops.Erf(ops.Mul(num(0.70710678), X)), ONE))),
    "by a computed root": half(ops.Mul(X, ops.Add(ops.Erf(ops.Div(X, ops.Sqrt(num(2)))), ONE))),
    "of the half": ops.Mul(half(X), ops.Add(ops.Erf(ops.Mul(half(X), num(math.sqrt(2)))), ONE)),
}
TANH_FORMS: dict[str, Op] = {
    "hugging face": ops.Mul(half(X), ops.Add(ONE, ops.Tanh(cubic()))),
    "products": half(
        ops.Mul(
            X,
            ops.Add(
                ops.Tanh(
                    ops.Mul(ops.Mul(X, num(K)), ops.Add(ONE, ops.Mul(ops.Mul(X, num(0.044715)), X))),
                ),
                ONE,
            ),
        )
    ),
    "k inside": ops.Mul(
        X,
        half(
            ops.Add(
                ONE,
                ops.Tanh(ops.Add(ops.Mul(X, num(K)), ops.Mul(ops.Pow(X, num(3)), num(K * 0.044715)))),
            )
        ),
    ),
}


@pytest.mark.parametrize("form", ERF_FORMS)
def test_erf(form: str) -> None:
    becomes(fused, graph(ERF_FORMS[form]), "%0 = Input(x)\n%1 = Gelu(%0, approx=none)")


@pytest.mark.parametrize("form", TANH_FORMS)
def test_tanh(form: str) -> None:
    becomes(fused, graph(TANH_FORMS[form]), "%0 = Input(x)\n%1 = Gelu(%0, approx=tanh)")


def test_of_a_product_and_of_a_multiple() -> None:
    product = ops.Mul(X, inp(2, 3, name="z"))
    assert kinds(fused(graph(half(ops.Mul(product, ops.Add(erf(product), ONE))))).graph)[-2:] == [
        "Mul",
        "Gelu",
    ]
    third = ops.Mul(X, num(1 / 3))
    after = fused(graph(half(ops.Mul(third, ops.Add(erf(third), ONE))))).graph
    assert kinds(after) == ["Input", "Const", "Mul", "Gelu"]


@pytest.mark.parametrize("gate", [ops.Add(erf(), ONE), ops.Add(ops.Tanh(cubic()), ONE)])
def test_one_that_gates_another_value(gate: Op) -> None:
    z = inp(2, 3, name="z")
    for op in (ops.Mul(half(ops.Mul(X, gate)), z), ops.Mul(z, half(ops.Mul(X, gate)))):
        assert sorted(kinds(fused(graph(op)).graph)) == ["Gelu", "Input", "Input", "Mul"]
    stays(ops.Mul(ops.Mul(ops.Mul(X, gate), z), num(0.3)), "scaled by 1,", "scaled by 1,", "scaled by 0.3,")


def test_the_name_stays() -> None:
    op = half(ops.Mul(X, ops.Add(erf(), ONE))).named("act")
    assert fused(graph(op)).graph.outputs["y"].name == "act"


def stays(op: Op, *reasons: str) -> None:
    refuses(fuse_gelu, canonicalize(graph(op)).graph, *reasons)


def test_another_factor() -> None:
    stays(ops.Mul(ops.Mul(X, ops.Add(erf(), ONE)), num(0.25)), "scaled by 1,", *["scaled by 0.25,"])


def test_another_root() -> None:
    stays(half(ops.Mul(X, ops.Add(erf(root=1.5), ONE))), "argument of erf", "argument of erf")


def test_another_summand() -> None:
    stays(half(ops.Mul(X, ops.Add(erf(), num(2)))))


def test_the_other_tail() -> None:
    stays(half(ops.Mul(X, ops.Sub(ONE, erf()))))


def test_another_value_in_front() -> None:
    z = inp(2, 3, name="z")
    stays(half(ops.Mul(z, ops.Add(erf(), ONE))), "argument of erf", "argument of erf")


def test_another_cubic() -> None:
    stays(half(ops.Mul(X, ops.Add(ops.Tanh(cubic(c=0.05)), ONE))), "argument of tanh", "argument of tanh")


def test_an_erf_with_another_user() -> None:
    e = erf()
    g = canonicalize(graph(half(ops.Mul(X, ops.Add(e, ONE))), e)).graph
    refuses(fuse_gelu, g, "scaled by 1,", "the erf has another user")
