import math

import numpy as np
import pytest
from rewriting import becomes, graph, inp, kinds, num, refuses, row, same_value

from ppc.frontend.ir import ops
from ppc.frontend.ir.graph import Graph, Op
from ppc.passes.canonicalize import canonicalize
from ppc.passes.fuse_layernorm import fuse_layernorm
from ppc.passes.rewrite import Rewritten

X = inp(2, 4, 3)
G = row(1.5, -2, 0.5)
B = row(0.1, 0.2, 0.3)
EPS = num(1e-5)
RMS = "%0 = Input(x)\n%1 = Const([1, 1, 1])\n%2 = RMSNorm(%0, %1, eps=1e-05)"
NORM = "%0 = Input(x)\n%1 = Const([1, 1, 1])\n%2 = Const([0, 0, 0])\n%3 = LayerNorm(%0, %1, %2, eps=1e-05)"
AFFINE = "%0 = Input(x)\n%1 = Const(secret)\n%2 = Const(secret)\n%3 = LayerNorm(%0, %1, %2, eps=1e-05)"


def fused(g: Graph) -> Rewritten:
    return fuse_layernorm(canonicalize(g).graph)


def refused(g: Graph, *reasons: str) -> None:
    refuses(fuse_layernorm, canonicalize(g).graph, *reasons)


def centred(x: Op = X, axis: int = -1) -> Op:
    return ops.Sub(x, ops.ReduceMean(x, (axis,)))


def root(x: Op, eps: Op = EPS, axis: int = -1) -> Op:
    return ops.Sqrt(ops.Add(ops.ReduceMean(ops.Pow(x, num(2)), (axis,)), eps))


def normal(x: Op) -> Op:
    return ops.Div(x, root(x))


def torch() -> Op:
    return ops.Add(ops.Mul(normal(centred()), G), B)


def summed() -> Op:
    """Means spelled as sums over n, the centred value computed anew each time."""
    mean = [ops.Div(ops.ReduceSum(X, (2,)), num(3)) for _ in range(3)]
    d = [ops.Sub(X, each) for each in mean]
    variance = ops.Mul(ops.ReduceSum(ops.Mul(d[0], d[1]), (-1,)), num(1 / 3))
    return ops.Add(B, ops.Mul(G, ops.Div(d[2], ops.Pow(ops.Add(EPS, variance), num(0.5)))))


def rsqrt() -> Op:
    d = centred()
    return ops.Add(ops.Mul(ops.Mul(d, ops.Div(num(1), root(d))), G), B)


@pytest.mark.parametrize("form", [torch, summed, rsqrt])
def test_layer_norm(form: object) -> None:
    assert callable(form)
    becomes(fused, graph(form()), AFFINE)


def test_without_scale_and_shift() -> None:
    becomes(fused, graph(normal(centred())), NORM)


def test_rms_norm() -> None:
    becomes(fused, graph(normal(X)), RMS)
    becomes(fused, graph(ops.Mul(G, normal(X))), RMS.replace("[1, 1, 1]", "secret"))
    becomes(fused, graph(ops.Mul(X, ops.Reciprocal(root(X)))), RMS)


def test_scale_and_shift_in_numbers() -> None:
    after = becomes(fused, graph(ops.Add(ops.Mul(ops.Add(torch(), B), num(2)), num(1))), AFFINE)
    norm = after.outputs["y"]
    assert isinstance(norm, ops.LayerNorm)
    gamma, beta = norm.gamma, norm.beta
    assert isinstance(gamma, ops.Const)
    assert isinstance(beta, ops.Const)
    np.testing.assert_allclose(gamma.value, [3, -4, 1])
    np.testing.assert_allclose(beta.value, [1.4, 1.8, 2.2], rtol=1e-6)


def test_the_name_stays() -> None:
    assert fused(graph(torch().named("norm"))).graph.outputs["y"].name == "norm"


def test_another_axis() -> None:
    refused(graph(ops.Div(X, root(X, axis=1))), "over axes (1,), not over the last of 3")


def test_a_mean_over_another_axis() -> None:
    g = canonicalize(graph(normal(centred(axis=1)))).graph
    done = fuse_layernorm(g)
    assert [each.reason for each in done.refusals] == ["the mean is over axes (1,), not over the last of 3"]
    assert kinds(done.graph)[-1] == "RMSNorm"
    same_value(g, done.graph)


def test_the_mean_of_another_value() -> None:
    z = inp(2, 4, 3, name="z")
    done = fused(graph(normal(ops.Sub(X, ops.ReduceMean(z, (2,))))))
    assert [each.reason for each in done.refusals] == ["the mean is of another value"]
    assert kinds(done.graph)[-1] == "RMSNorm"


def test_the_mean_square_of_another_value() -> None:
    refused(graph(ops.Div(inp(2, 4, 3, name="z"), root(X))), "not of what is divided")


def test_an_epsilon_that_is_no_number() -> None:
    refused(graph(ops.Div(X, root(X, eps=inp(1, name="z")))), "ε is not a constant number")


def test_an_epsilon_beside_the_root() -> None:
    deviation = ops.Sqrt(ops.ReduceMean(ops.Square(X), (2,)))
    refused(graph(ops.Div(X, ops.Add(deviation, EPS))), "added to the deviation")


def test_a_deviation_with_another_user() -> None:
    deviation = root(X)
    refused(graph(ops.Div(X, deviation), deviation), "the deviation has another user")


def norm(shape: tuple[int, ...] = (2, 4, 3)) -> Op:
    return ops.LayerNorm(inp(*shape), G, B, 1e-5)


def test_a_scale_that_is_no_row() -> None:
    column = ops.Const(np.ones((4, 1), np.float32) * 2, True)
    refused(graph(ops.Mul(norm(), column)), "f32[4,1] is not one row of f32[2,4,3]")


def test_a_scale_that_widens() -> None:
    wide = ops.Const(np.full((5, 1, 1, 3), 2, np.float32), True)
    refused(graph(ops.Mul(norm(), wide)), "is not one row")


def test_a_normalized_value_with_another_user() -> None:
    y = norm()
    refused(graph(ops.Add(y, B), y), "another user")


def test_no_epsilon() -> None:
    after = fused(graph(ops.Div(X, ops.Sqrt(ops.ReduceMean(ops.Square(X), (2,)))))).graph
    norm_ = after.outputs["y"]
    assert isinstance(norm_, ops.RMSNorm)
    assert math.isclose(norm_.eps, 0)
    same_value(graph(ops.Div(X, ops.Sqrt(ops.ReduceMean(ops.Square(X), (2,))))), after)
