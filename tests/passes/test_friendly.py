import math

import numpy as np
import pytest
from numpy.testing import assert_allclose
from rewriting import graph, inp, text

from ppc.frontend.ir import ops
from ppc.frontend.ir.reference import evaluate
from ppc.passes.friendly import REPLACEABLE, SUBSTITUTIONS, Samples, variants

RNG = np.random.default_rng(0)
GAMMA = ops.Const(np.array([1.0, 2.0, 0.5, 1.5], np.float32), True, name="gamma")
BETA = ops.Const(np.array([0.0, 0.1, -1.0, 0.3], np.float32), True, name="beta")


def row(op_type, x):
    if op_type is ops.LayerNorm:
        return op_type(x, GAMMA, BETA, eps=1e-5)
    return op_type(x, GAMMA, eps=1e-5) if op_type is ops.RMSNorm else op_type(x)


def exact(op, x):
    return evaluate(graph(op), {"x": x})["y"]


def made(substitution, x, y=None, settings=None, shape=None):
    """The substitution of an op on x, fitted to x and y, as a graph."""
    op = row(substitution.op, inp(*(shape or x.shape)))
    wanted = exact(row(substitution.op, inp(*x.shape)), x) if y is None else y
    settings = {**substitution.settings, **(settings or {})}
    constants = substitution.fit(op, Samples([x], [wanted]), settings)
    return graph(substitution.build(op, constants, settings))


def value(g, x):
    return evaluate(g, {"x": x})["y"]


PLAIN = {
    (ops.Gelu, "relu"): "%0 = Input(x)\n%1 = Relu(%0)",
    (ops.Silu, "relu"): "%0 = Input(x)\n%1 = Relu(%0)",
    (ops.Softmax, "relu_sum"): """
%0 = Input(x)
%1 = Relu(%0)
%2 = ReduceSum(%1, axes=(1), keepdims=true)
%3 = Const(0.0625)
%4 = Add(%2, %3)
%5 = Div(%1, %4)
""",
    (ops.Softmax, "relu2_sum"): """
%0 = Input(x)
%1 = Relu(%0)
%2 = Square(%1)
%3 = ReduceSum(%2, axes=(1), keepdims=true)
%4 = Const(0.0625)
%5 = Add(%3, %4)
%6 = Div(%2, %5)
""",
    (ops.Softmax, "relu2"): """
%0 = Input(x)
%1 = Relu(%0)
%2 = Square(%1)
%3 = Const(0.0625)
%4 = Mul(%2, %3)
""",
}

FITTED = {
    (ops.Gelu, "relu"): "%0 = Input(x)\n%1 = Relu(%0)\n%2 = Const(secret)\n%3 = Add(%1, %2)",
    (ops.Softmax, "relu_sum"): """
%0 = Input(x)
%1 = Const(secret)
%2 = Add(%0, %1)
%3 = Relu(%2)
%4 = ReduceSum(%3, axes=(1), keepdims=true)
%5 = Const(0.0625)
%6 = Add(%4, %5)
%7 = Div(%3, %6)
""",
    (ops.LayerNorm, "centred_affine"): """
%0 = Input(x)
%1 = ReduceMean(%0, axes=(1), keepdims=true)
%2 = Sub(%0, %1)
%3 = Const(secret)
%4 = Mul(%2, %3)
%5 = Const(secret)
%6 = Add(%4, %5)
""",
    (ops.LayerNorm, "affine"): """
%0 = Input(x)
%1 = Const(secret)
%2 = Mul(%0, %1)
%3 = Const(secret)
%4 = Add(%2, %3)
""",
    (ops.RMSNorm, "affine"): """
%0 = Input(x)
%1 = Const(secret)
%2 = Mul(%0, %1)
%3 = Const(secret)
%4 = Add(%2, %3)
""",
}

X = RNG.normal(0.5, 1.5, (64, 4))


def find(op, name):
    return variants(op)[name]


@pytest.mark.parametrize("key", PLAIN, ids=lambda key: f"{key[0].__name__}-{key[1]}")
def test_bare_formula(key):
    assert text(made(find(*key), X, settings={"calibrate": False})) == PLAIN[key].strip()


@pytest.mark.parametrize("key", FITTED, ids=lambda key: f"{key[0].__name__}-{key[1]}")
def test_formula_with_fitted_constants(key):
    assert text(made(find(*key), X)) == FITTED[key].strip()


@pytest.mark.parametrize("each", SUBSTITUTIONS, ids=lambda each: f"{each.op.__name__}-{each.name}")
def test_declared_difference_holds_and_is_no_larger_than_need_be(each):
    wide = RNG.normal(0, 3, (256, 4))
    off = np.abs(value(made(each, wide), wide) - exact(row(each.op, inp(*wide.shape)), wide)).max()
    assert 1e-3 < off <= each.max_error
    assert each.difference.startswith("changes the function")
    assert ("at most" in each.difference) == math.isfinite(each.max_error)


@pytest.mark.parametrize("each", SUBSTITUTIONS, ids=lambda each: f"{each.op.__name__}-{each.name}")
def test_fitting_brings_it_closer(each):
    if "calibrate" not in each.settings:
        return
    wanted = exact(row(each.op, inp(*X.shape)), X)
    off = [
        float(np.mean((value(made(each, X, settings={"calibrate": fitted}), X) - wanted) ** 2))
        for fitted in (True, False)
    ]
    assert off[0] < off[1]


def test_what_a_relu_lacks_is_added_for_each_channel():
    x = np.stack([np.full(50, -0.75), np.full(50, 9.0)], axis=1)
    g = made(find(ops.Gelu, "relu"), x)
    assert_allclose(value(g, x), exact(ops.Gelu(inp(50, 2)), x), atol=1e-6)


@pytest.mark.parametrize("name", ["relu_sum", "relu2_sum", "relu2"])
@pytest.mark.parametrize("calibrate", [True, False])
def test_masked_scores_have_no_weight_and_masked_rows_are_zero(name, calibrate):
    x = np.abs(RNG.normal(0, 2, (2, 3, 4)))
    x[..., 2:] = -3.4e38
    x[:, 1] = -3.4e38
    y = exact(ops.Softmax(inp(*x.shape)), x)
    p = value(made(find(ops.Softmax, name), x, y, {"calibrate": calibrate}), x)
    assert np.all(p[..., 2:] == 0)
    assert np.all(p[:, 1] == 0)
    assert np.all(p[:, 0, :2].sum(axis=-1) > 0.01)


def test_rows_sum_to_one_but_for_epsilon():
    x = RNG.normal(2, 1, (8, 16))
    p = value(made(find(ops.Softmax, "relu_sum"), x, settings={"calibrate": False, "epsilon": 0.5}), x)
    total = np.maximum(x, 0).sum(axis=-1)
    assert_allclose(p.sum(axis=-1), total / (total + 0.5), rtol=1e-6)


def test_a_softmax_over_another_axis_is_summed_there():
    x = RNG.normal(size=(5, 4))
    op = ops.Softmax(inp(5, 4), axis=0)
    substitution = find(ops.Softmax, "relu_sum")
    settings = substitution.settings
    constants = substitution.fit(op, Samples([x], [exact(op, x)]), settings)
    total = value(graph(substitution.build(op, constants, settings)), x).sum(axis=0)
    assert constants["t"].shape == ()
    assert np.all(total <= 1)


def test_each_head_has_its_shift():
    x = RNG.normal(0, 1, (1, 2, 40, 6))
    x[:, 1] += 5.0  # a softmax does not mind, a ReLU does
    constants = find(ops.Softmax, "relu_sum").fit(
        ops.Softmax(inp(*x.shape)), Samples([x], [exact(ops.Softmax(inp(*x.shape)), x)]),
        find(ops.Softmax, "relu_sum").settings,
    )  # fmt: skip
    assert constants["t"].shape == (2, 1, 1)
    assert constants["t"][1, 0, 0] < constants["t"][0, 0, 0] - 3


def test_scale_of_the_square_is_a_public_power_of_two():
    g = made(find(ops.Softmax, "relu2"), X)
    (scale,) = (each for each in g.outputs["y"].operands if isinstance(each, ops.Const))
    assert not scale.secret
    assert math.log2(float(scale.value)).is_integer()


def test_an_affine_norm_follows_the_original_where_its_input_has_drifted():
    x = RNG.normal(0, 1, (200, 4))
    y = exact(row(ops.LayerNorm, inp(200, 4)), x)
    drifted = 3 * x - 2
    for name in ("centred_affine", "affine"):
        substitution = find(ops.LayerNorm, name)
        near = np.mean((value(made(substitution, x, y), x) - y) ** 2)
        far = np.mean((value(made(substitution, drifted, y), drifted) - y) ** 2)
        assert far < 1.3 * near + 1e-3


def test_a_channel_that_never_varies_takes_gamma_over_sigma():
    x = np.array([[1.0, -1.0, 3.0, 5.0]] * 6)
    substitution = find(ops.LayerNorm, "centred_affine")
    op = row(ops.LayerNorm, inp(*x.shape))
    a = substitution.fit(op, Samples([x], [exact(op, x)]), {})["a"]
    assert_allclose(a, GAMMA.value / x[0].std(), rtol=1e-4)
    assert_allclose(value(made(substitution, x), x), exact(op, x), rtol=1e-4)


@pytest.mark.parametrize("each", SUBSTITUTIONS, ids=lambda each: f"{each.op.__name__}-{each.name}")
def test_what_was_fitted_at_one_length_serves_another(each):
    g = made(each, X, shape=(64, 4))
    op = row(each.op, inp(7, 4))
    wanted = exact(row(each.op, inp(*X.shape)), X)
    constants = each.fit(row(each.op, inp(*X.shape)), Samples([X], [wanted]), each.settings)
    shorter = graph(each.build(op, constants, each.settings))
    assert_allclose(value(shorter, X[:7]), value(g, X)[:7], rtol=1e-6)


def test_the_table_is_complete():
    assert set(REPLACEABLE) == {ops.Gelu, ops.Silu, ops.Softmax, ops.LayerNorm, ops.RMSNorm}
    assert [next(iter(variants(op))) for op in REPLACEABLE] == [
        "relu", "relu", "relu_sum", "centred_affine", "affine",
    ]  # fmt: skip
    keys = [(each.op, each.name) for each in SUBSTITUTIONS]
    assert len(set(keys)) == len(keys)
    assert all(each.formula and each.replaces and each.domain and each.cost for each in SUBSTITUTIONS)
