import numpy as np
import pytest
from friendly_cases import BETA, GAMMA, X, exact, find, made, row, value
from numpy.testing import assert_allclose
from rewriting import graph, inp, text

from ppc.frontend.ir import ops
from ppc.passes.carry_factor import carry_factor
from ppc.passes.fold_affine import fold_affine
from ppc.passes.substitution import Samples

CENTRED = """
%0 = Input(x)
%1 = ReduceMean(%0, axes=(1), keepdims=true)
%2 = Sub(%0, %1)
%3 = Const(secret)
%4 = Mul(%2, %3)
%5 = Const(secret)
%6 = Add(%4, %5)
"""
AFFINE = "%0 = Input(x)\n%1 = Const(secret)\n%2 = Mul(%0, %1)\n%3 = Const(secret)\n%4 = Add(%2, %3)"
FORMULAS = {
    (ops.LayerNorm, "centred_affine"): CENTRED,
    (ops.LayerNorm, "centred_scalar"): CENTRED,
    (ops.LayerNorm, "affine"): AFFINE,
    (ops.RMSNorm, "affine"): AFFINE,
    (ops.RMSNorm, "scalar"): AFFINE,
}


@pytest.mark.parametrize("key", FORMULAS, ids=lambda key: f"{key[0].__name__}-{key[1]}")
def test_formula_with_fitted_constants(key):
    assert text(made(find(*key), X)) == FORMULAS[key].strip()


@pytest.mark.parametrize("key", FORMULAS, ids=lambda key: f"{key[0].__name__}-{key[1]}")
def test_a_norm_follows_the_original_where_its_input_has_drifted(key):
    x = np.random.default_rng(0).normal(0, 1, (200, 4))
    y = exact(row(key[0], inp(200, 4)), x)
    drifted = 3 * x - 2
    near = np.mean((value(made(find(*key), x, y), x) - y) ** 2)
    far = np.mean((value(made(find(*key), drifted, y), drifted) - y) ** 2)
    assert far < 1.3 * near + 1e-3


def test_a_channel_that_never_varies_takes_gamma_over_sigma():
    x = np.array([[1.0, -1.0, 3.0, 5.0]] * 6)
    substitution = find(ops.LayerNorm, "centred_affine")
    op = row(ops.LayerNorm, inp(*x.shape))
    a = substitution.fit(op, Samples([x], [exact(op, x)]), {})["a"]
    assert_allclose(a, GAMMA.value / x[0].std(), rtol=1e-4)
    assert_allclose(value(made(substitution, x), x), exact(op, x), rtol=1e-4)


@pytest.mark.parametrize("key", [(ops.LayerNorm, "centred_scalar"), (ops.RMSNorm, "scalar")])
def test_one_factor_is_the_best_one(key):
    op = row(key[0], inp(*X.shape))
    y = exact(op, X)
    found = find(*key).fit(op, Samples([X], [y]), {})
    assert found["a"].shape == ()
    z = X - X.mean(axis=-1, keepdims=True) if key[0] is ops.LayerNorm else X

    def off(a):
        b = (y - a * z).mean(axis=0)
        return np.mean((a * z + b - y) ** 2)

    a = float(found["a"])
    assert_allclose(found["b"], (y - a * z).mean(axis=0))
    assert off(a) < min(off(0.99 * a), off(1.01 * a))


def test_where_nothing_varies_the_factor_is_gammas_mean_over_sigma():
    x = np.array([[1.0, -1.0, 3.0, 5.0]] * 6)
    op = row(ops.LayerNorm, inp(*x.shape))
    a = find(ops.LayerNorm, "centred_scalar").fit(op, Samples([x], [exact(op, x)]), {})["a"]
    assert_allclose(a, GAMMA.value.mean() / x[0].std(), rtol=1e-4)


# ---- what is left of a norm beside the weights


RNG = np.random.default_rng(5)


def weight():
    return ops.Const(RNG.normal(size=(4, 4)).astype(np.float32), True)


def normed(variant, x, a):
    norm = ops.LayerNorm(x, GAMMA, BETA, eps=1e-5)
    shape = () if variant == "centred_scalar" else (4,)
    return find(ops.LayerNorm, variant).build(norm, {"a": np.full(shape, a), "b": np.full(4, 0.1)}, {})


def block(x):
    return ops.Add(ops.MatMul(ops.Relu(ops.MatMul(x, weight())), weight()), ops.Const(np.ones(4), True))


def products(y):
    """How many elementwise products with a constant of the server's a model of that result keeps."""
    before = graph(ops.MatMul(y, weight()))
    after = fold_affine(carry_factor(before).graph)
    assert_allclose(value(after, X), value(before, X), rtol=1e-4, atol=1e-4)
    return text(after).count(" Mul(")


def before_each_block(variant):
    x = ops.MatMul(inp(*X.shape), weight())
    for a in (0.5, 2.0):
        x = ops.Add(x, block(normed(variant, x, a)))
    return normed(variant, x, 0.7)


def behind_each_block(variant):
    x = ops.MatMul(inp(*X.shape), weight())
    for a in (0.5, 2.0, 0.7):
        x = normed(variant, ops.Add(x, block(x)), a)
    return x


@pytest.mark.parametrize("variant", ["centred_affine", "centred_scalar"])
def test_weights_take_any_norm_that_stands_before_each_block(variant):
    assert products(before_each_block(variant)) == 0


def test_behind_each_block_one_factor_goes_past_the_sums_and_a_row_does_not():
    assert products(behind_each_block("centred_scalar")) == 0
    assert products(behind_each_block("centred_affine")) == 2
