import numpy as np
import pytest
from friendly_cases import X, distance, exact, find, made, value
from numpy.testing import assert_allclose
from rewriting import graph, inp, text

from ppc.frontend.ir import ops
from ppc.passes.carry_factor import carry_factor
from ppc.passes.fold_affine import fold_affine
from ppc.passes.friendly_activations import BARE

BOTH = pytest.mark.parametrize("op", [ops.Gelu, ops.Silu], ids=lambda op: op.__name__)
EYE = ops.Const(np.eye(4, dtype=np.float32), True)
W = ops.Const(np.arange(8, dtype=np.float32).reshape(4, 2), True)


@BOTH
def test_relu(op):
    bare = "%0 = Input(x)\n%1 = Relu(%0)"
    assert text(made(find(op, "relu"), X, settings={"calibrate": False})) == bare
    assert text(made(find(op, "relu"), X)) == f"{bare}\n%2 = Const(secret)\n%3 = Add(%1, %2)"


@BOTH
def test_what_a_relu_lacks_is_added_for_each_channel(op):
    x = np.stack([np.full(50, -0.75), np.full(50, 9.0)], axis=1)
    g = made(find(op, "relu"), x)
    assert_allclose(value(g, x), exact(op(inp(50, 2)), x), atol=1e-6)


@BOTH
def test_the_bare_quadratic(op):
    a, s, m = BARE[op]
    g = made(find(op, "quadratic"), X, settings={"calibrate": False})
    assert_allclose(value(g, X), a * ((X + s) ** 2 + m), atol=1e-6)
    assert not any(each.secret for each in g.outputs["y"].operands if isinstance(each, ops.Const))


def test_the_bare_quadratic_of_gelu_is_that_of_mpcformer():
    x = np.linspace(-2, 2, 9).reshape(-1, 1)
    g = made(find(ops.Gelu, "quadratic"), x, settings={"calibrate": False})
    assert_allclose(value(g, x), 0.125 * x**2 + 0.25 * x + 0.5, rtol=1e-6)


@BOTH
def test_the_fitted_quadratic_is_nearly_the_best_there_is(op):
    x = np.random.default_rng(3).normal(0.5, 1.0, (4000, 4))
    y = exact(op(inp(*x.shape)), x)
    best = np.polyval(np.polyfit(x.ravel(), y.ravel(), 2), x)
    off = np.mean((value(made(find(op, "quadratic"), x), x) - y) ** 2)
    assert off < 1.02 * np.mean((best - y) ** 2)


@BOTH
def test_each_channel_has_a_slope_of_its_own(op):
    x = np.random.default_rng(3).normal([-6.0, 0.0, 6.0, 8.0], 0.5, (4000, 4))
    y = exact(op(inp(*x.shape)), x)
    off = np.mean((value(made(find(op, "quadratic"), x), x) - y) ** 2, axis=0)
    assert np.all(off < 0.02)


@BOTH
def test_on_what_never_varies_the_quadratic_is_the_bare_one(op):
    g = made(find(op, "quadratic"), np.full((8, 4), 0.5))
    assert not any(each.secret for each in g.outputs["y"].operands if isinstance(each, ops.Const))


@BOTH
def test_the_next_weight_takes_the_factor_of_a_quadratic(op):
    x = inp(*X.shape)
    constants = {"a": np.array(0.2), "s": np.ones(4), "m": np.ones(4)}
    act = find(op, "quadratic").build(op(ops.MatMul(x, EYE)), constants, {})
    gate = ops.MatMul(x, ops.Const(np.ones((4, 4), np.float32), True))
    for y, kept in ((act, 0), (ops.Mul(act, gate), 1), (ops.Mul(gate, act), 1)):
        before = graph(ops.MatMul(y, W))
        after = fold_affine(carry_factor(before).graph)
        assert text(after).count(" Mul(") == kept
        assert_allclose(value(after, X), value(before, X), rtol=1e-5, atol=1e-5)


@BOTH
def test_a_quadratic_is_closer_than_a_relu_near_zero(op):
    near = np.random.default_rng(1).normal(0, 0.5, (400, 4))
    assert distance(find(op, "quadratic"), near) < distance(find(op, "relu"), near)
