import os
from pathlib import Path

import numpy as np
import pytest
import scipy

from ppc.passes import friendly, functions
from ppc.passes.refine import REFITS

DOC = Path(__file__).parents[2] / "docs" / "functions.md"

EXACT = {
    "exp": np.exp,
    "sigmoid": scipy.special.expit,
    "tanh": np.tanh,
    "erf": scipy.special.erf,
}


BESIDE_RELU = {
    "gelu": lambda x: x * scipy.special.ndtr(x),
    "silu": lambda x: x * scipy.special.expit(x),
}


@pytest.mark.parametrize("name", EXACT)
def test_default_fit_against_scipy(name):
    spec = getattr(functions, name)()
    x = np.linspace(-40, 0.25 if name == "exp" else 40, 40_001)
    assert np.max(np.abs(spec.evaluate(x) - EXACT[name](x))) <= spec.max_error * 1.001 <= 2.4e-3


@pytest.mark.long
@pytest.mark.parametrize("name", [*EXACT, *BESIDE_RELU])
def test_error_asked_for_is_kept(name):
    x = np.linspace(-40, 0.25 if name == "exp" else 40, 400_001)
    for error in (5e-3, 5e-4):
        spec = getattr(functions, name)(error)
        if name in EXACT:
            off = spec.evaluate(x) - EXACT[name](x)
        else:
            off = np.maximum(x, 0) + spec.evaluate(np.abs(x)) - BESIDE_RELU[name](x)
            off /= np.sqrt(2)  # a function of |x|, of which there are two halves
        assert np.trapezoid(off**2, x) ** 0.5 <= error * 1.01
        assert spec.error < error


def test_costs_on_the_large_tensors_stay_low():
    assert len(functions.gelu().knots) <= 4
    assert len(functions.exp().knots) <= 6


@pytest.mark.parametrize("name", BESIDE_RELU)
def test_beside_a_relu_what_is_left_is_small_and_even(name):
    spec = getattr(functions, name)()
    x = np.linspace(-40, 40, 40_001)
    rest = spec.evaluate(np.abs(x))
    assert np.max(np.abs(np.maximum(x, 0) + rest - BESIDE_RELU[name](x))) <= spec.max_error * 1.001 <= 2.6e-3
    assert np.max(np.abs(rest)) < 0.3
    assert not np.any(rest[np.abs(x) > spec.knots[-1]])
    assert spec.knots[-1] < 11


@pytest.mark.long
@pytest.mark.parametrize("name", BESIDE_RELU)
@pytest.mark.parametrize("halvings", range(-3, 7))
def test_a_small_number_may_be_taken_for_zero_by_a_relu_that_has_another_beside_it(name, halvings):
    """|x| is −x then."""
    usual, refit = REFITS[name]
    spec = refit(functions.relu(), usual * 2.0**-halvings)
    x = np.linspace(0, functions.NEAR, 65)
    off = spec.evaluate(-x) - BESIDE_RELU[name](x)
    assert np.abs(off).max() <= 2 * spec.max_error
    assert functions.relu_beside().max_error == 2 * functions.NEAR


def test_exp_is_zero_far_below():
    assert functions.exp().evaluate(np.array([functions.exp().knots[0] - 0.001, -50.0, -1e6])).tolist() == [
        0,
        0,
        0,
    ]


@pytest.mark.long
@pytest.mark.parametrize(("lo", "hi"), [(1, 32), (0.02, 3)])
def test_relative_errors(lo, hi):
    x = np.linspace(lo, hi, 9999)
    for name, exact in (("reciprocal", 1 / x), ("rsqrt", x**-0.5), ("sqrt", x**0.5)):
        spec = getattr(functions, name)(lo, hi)
        assert np.max(np.abs(spec.evaluate(x) / exact - 1)) <= spec.max_error * 1.001 <= 5.01e-4


@pytest.mark.parametrize("name", ["reciprocal", "rsqrt", "sqrt"])
def test_ranges_that_touch_zero_are_refused(name):
    with pytest.raises(ValueError, match="above 0"):
        getattr(functions, name)(0.0, 1.0)


def test_relu_and_clip_are_exact():
    x = np.linspace(-9, 9, 181)
    assert np.array_equal(functions.relu().evaluate(x), np.maximum(x, 0))
    np.testing.assert_allclose(functions.clip(-1, 2.5).evaluate(x), np.clip(x, -1, 2.5), atol=1e-15)
    np.testing.assert_allclose(functions.clip(None, 2.5).evaluate(x), np.minimum(x, 2.5), atol=1e-15)
    np.testing.assert_allclose(functions.clip(-1, None).evaluate(x), np.maximum(x, -1), atol=1e-15)
    with pytest.raises(ValueError, match="clip to"):
        functions.clip(1, 1)


@pytest.mark.long
def test_documented_table():
    made = f"{functions.markdown()}\n{friendly.markdown()}"
    if os.environ.get("PPC_UPDATE"):
        DOC.write_text(made)
    assert DOC.read_text() == made, "docs/functions.md is stale; see its head"
