import math

import numpy as np
import pytest
from friendly_cases import X, exact, find, made, value
from numpy.testing import assert_allclose
from rewriting import graph, inp, text

from ppc.frontend.errors import UsageError
from ppc.frontend.ir import ops
from ppc.frontend.ir.graph import BOOL, Owner
from ppc.frontend.ir.reference import evaluate
from ppc.passes.friendly import variants
from ppc.passes.owners import owners
from ppc.passes.substitution import Samples

RNG = np.random.default_rng(0)
NAMES = list(variants(ops.Softmax))
SUMS = [name for name in NAMES if name.endswith("_sum")]
SCALED = [name for name in NAMES if name not in SUMS]
DEEP = -1e4


def cut(z):
    return np.maximum(z, 0.0)


FORMULAS = {
    "relu_sum": lambda z, kept: cut(z) / (cut(z).sum(-1, keepdims=True) + 1 / 16),
    "relu2_sum": lambda z, kept: cut(z) ** 2 / ((cut(z) ** 2).sum(-1, keepdims=True) + 1 / 16),
    "square_sum": lambda z, kept: kept * z**2 / ((kept * z**2).sum(-1, keepdims=True) + 1 / 16),
    "relu2": lambda z, kept: cut(z) ** 2,
    "relu_running": lambda z, kept: cut(z),
    "relu_mean": lambda z, kept: cut(z) / np.maximum(kept.sum(-1, keepdims=True), 1),
    "square": lambda z, kept: kept * z**2,
}
"""Of z = x + t, and of 1 where no mask hides a score; before c."""


def attention(rng=RNG):
    """Scores of two inputs, two heads, five rows and six columns, of which a mask keeps four of the first."""
    scores = rng.normal(0.3, 1.0, (2, 2, 5, 6))
    kept = np.ones((2, 1, 1, 6))
    kept[0, ..., 4:] = 0
    return scores, kept


def fitted(name, op, x, **settings):
    substitution = find(ops.Softmax, name)
    settings = {**substitution.settings, **settings}
    constants = substitution.fit(op, Samples([x], [exact(ops.Softmax(inp(*x.shape)), x)]), settings)
    return constants, substitution.build(op, constants, settings)


def unknown(*shape):
    """The input x, and neither party knows it."""
    return ops.MatMul(inp(*shape), ops.Const(np.eye(shape[-1]), True))


def masked_by(kind, shape):
    """Scores under the client's mask, 1 for what it keeps: added, or chosen by."""
    mixed, mask = unknown(*shape), inp(shape[0], 1, 1, shape[-1], name="mask")
    if kind == "added":
        return ops.Add(mixed, ops.Mul(ops.Sub(public(1.0), mask), public(DEEP)))
    if kind == "where":
        return ops.Where(ops.Cast(mask, BOOL), mixed, public(DEEP))
    return ops.Where(ops.Equal(mask, public(0.0)), public(DEEP), mixed)


def public(value):
    return ops.Const(np.array(value), secret=False)


@pytest.mark.parametrize("calibrate", [True, False])
@pytest.mark.parametrize("kind", ["added", "where", "swapped"])
@pytest.mark.parametrize("name", NAMES)
def test_formula_under_a_mask(name, kind, calibrate):
    scores, kept = attention()
    x = np.where(kept > 0, scores, DEEP)
    op = ops.Softmax(masked_by(kind, scores.shape))
    constants, y = fitted(name, op, x, calibrate=calibrate)
    found = evaluate(graph(y), {"x": scores, "mask": kept})["y"]
    t = constants.get("t", 5.0 if name.startswith("square") else 0.0)
    assert_allclose(found, FORMULAS[name](x + t, kept) * constants.get("c", 1.0), rtol=1e-5, atol=1e-9)
    assert ("t" in constants) == calibrate


@pytest.mark.parametrize("name", ["relu_mean", "square", "square_sum"])
def test_what_is_counted_or_kept_is_the_clients_alone(name):
    scores, kept = attention()
    op = ops.Softmax(masked_by("added", scores.shape))
    _, y = fitted(name, op, np.where(kept > 0, scores, DEEP))
    owner = owners(graph(y))
    found = [each for each in owner if isinstance(each, ops.Exp | ops.Reciprocal)]
    assert found
    assert all(owner[each] is Owner.CLIENT for each in found)


def test_tokens_of_a_row_under_a_causal_mask_are_public_numbers():
    scores = RNG.normal(0.3, 1.0, (1, 2, 4, 4))
    causal = np.where(np.tri(4) > 0, 0.0, DEEP)
    op = ops.Softmax(ops.Add(unknown(1, 2, 4, 4), ops.Const(causal, secret=False)))
    constants, y = fitted("relu_mean", op, scores + causal)
    found = evaluate(graph(y), {"x": scores})["y"]
    n = np.arange(1, 5).reshape(4, 1)
    assert_allclose(found, constants["c"] * cut(scores + causal + constants["t"]) / n, rtol=1e-6)
    assert "Exp" not in text(graph(y))


def test_without_a_mask_n_is_the_length():
    assert text(made(find(ops.Softmax, "relu_mean"), X, settings={"calibrate": False})) == (
        "%0 = Input(x)\n%1 = Relu(%0)\n%2 = Const(0.25)\n%3 = Mul(%1, %2)\n%4 = Const(1)\n%5 = Mul(%3, %4)"
    )


def test_one_token_at_least_is_counted():
    op = ops.Softmax(masked_by("added", (1, 2, 5, 6)))
    _, y = fitted("relu_mean", op, np.abs(RNG.normal(size=(1, 2, 5, 6))))
    nothing = evaluate(graph(y), {"x": np.ones((1, 2, 5, 6)), "mask": np.zeros((1, 1, 1, 6))})["y"]
    assert np.all(nothing == 0)


@pytest.mark.parametrize("name", ["relu_mean", "square", "square_sum"])
def test_a_mask_that_neither_party_knows_is_refused(name):
    mask = ops.Mul(inp(1, 1, 1, 6, name="mask"), ops.Const(np.array(-1.234e4), secret=True))
    op = ops.Softmax(ops.Add(unknown(1, 2, 5, 6), mask), name="layer.0.softmax")
    with pytest.raises(UsageError, match=r'layer.0.softmax.*neither party alone knows its mask.*"relu_sum"'):
        find(ops.Softmax, name).build(op, {"c": np.array(1.0)}, find(ops.Softmax, name).settings)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("calibrate", [True, False])
def test_masked_scores_have_no_weight_and_masked_rows_are_zero(name, calibrate):
    scores = np.abs(RNG.normal(0, 2, (2, 1, 3, 4)))
    kept = np.array([[1, 1, 0, 0], [0, 0, 0, 0]]).reshape(2, 1, 1, 4)
    op = ops.Softmax(masked_by("added", scores.shape))
    _, y = fitted(name, op, np.where(kept > 0, scores, DEEP), calibrate=calibrate)
    p = evaluate(graph(y), {"x": scores, "mask": kept.astype(float)})["y"]
    assert np.all(p[0, ..., 2:] == 0)
    assert np.all(p[1] == 0)
    assert np.all(p[0, ..., :2].sum(axis=-1) > 0.01)


def test_rows_sum_to_one_but_for_epsilon():
    x = RNG.normal(2, 1, (8, 16))
    p = value(made(find(ops.Softmax, "relu_sum"), x, settings={"calibrate": False, "epsilon": 0.5}), x)
    total = np.maximum(x, 0).sum(axis=-1)
    assert_allclose(p.sum(axis=-1), total / (total + 0.5), rtol=1e-6)


def test_a_softmax_over_another_axis_is_summed_there():
    x = RNG.normal(size=(5, 4))
    op = ops.Softmax(inp(5, 4), axis=0)
    substitution = find(ops.Softmax, "relu_sum")
    constants = substitution.fit(op, Samples([x], [exact(op, x)]), substitution.settings)
    total = value(graph(substitution.build(op, constants, substitution.settings)), x).sum(axis=0)
    assert constants["t"].shape == ()
    assert np.all(total <= 1)


@pytest.mark.parametrize("name", NAMES)
def test_each_head_has_its_constants(name):
    x = RNG.normal(0, 1, (1, 2, 40, 6))
    x[:, 1] += 5.0  # a softmax does not mind, a ReLU does
    constants, _ = fitted(name, ops.Softmax(inp(*x.shape)), x)
    assert constants["t"].shape == (2, 1, 1)
    assert constants["t"][1, 0, 0] < constants["t"][0, 0, 0] - 3
    assert ("c" in constants) == (name in SCALED)
    if name in SCALED:
        assert constants["c"].shape == (2, 1, 1)


@pytest.mark.parametrize("name", SCALED)
def test_the_factor_of_a_head_is_the_best_one(name):
    x = RNG.normal(0, 1, (1, 2, 40, 6)) * np.array([0.5, 2.0]).reshape(2, 1, 1)
    y = exact(ops.Softmax(inp(*x.shape)), x)
    constants, _ = fitted(name, ops.Softmax(inp(*x.shape)), x)
    e = FORMULAS[name](x + constants["t"], np.ones_like(x))
    for h in range(2):
        off = [np.sum((k * constants["c"][h] * e[:, h] - y[:, h]) ** 2) for k in (0.98, 1.0, 1.02)]
        assert off[1] < min(off[0], off[2])


@pytest.mark.parametrize("name", SCALED)
@pytest.mark.parametrize(("shape", "calibrate"), [((64, 4), True), ((1, 2, 40, 6), False)])
def test_without_heads_or_fit_the_factor_is_a_public_power_of_two(name, shape, calibrate):
    x = RNG.normal(0.5, 1.5, shape)
    _, y = fitted(name, ops.Softmax(inp(*shape)), x, calibrate=calibrate)
    (scale,) = (each for each in y.operands if isinstance(each, ops.Const))
    assert not scale.secret
    assert math.log2(float(scale.value)).is_integer()
