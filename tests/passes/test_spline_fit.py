"""The fit is checked against the theory of best approximation, and each promise of ``fit`` by breaking it."""

from itertools import pairwise

import numpy as np
import pytest

from ppc.passes import functions
from ppc.passes.spline_fit import FitError, error, fit, minimax_quadratic


def test_minimax_of_a_cubic_is_chebyshevs():
    # x^3 - T3/4 = 3x/4 is the best quadratic for x^3 on [-1, 1], with error 1/4.
    x = -np.cos(np.linspace(0, np.pi, 1001))
    (c0, c1, c2), worst = minimax_quadratic(x, x**3, np.ones_like(x))
    assert (c0, c1, c2) == pytest.approx((0, 0.75, 0), abs=1e-4)
    assert worst == pytest.approx(0.25, abs=1e-4)


def test_no_other_quadratic_is_better():
    x = np.linspace(0.3, 1.7, 201)
    weight = 1 / np.exp(x)
    best, worst = minimax_quadratic(x, np.exp(x), weight)
    rng = np.random.default_rng(1)
    for _ in range(200):
        c = np.array(best) + rng.normal(0, 1e-3, 3)
        assert np.max(weight * np.abs(np.exp(x) - c[0] - c[1] * x - c[2] * x**2)) >= worst - 1e-12


@pytest.mark.parametrize("max_error", [1e-2, 1e-3, 1e-4])
@pytest.mark.parametrize("relative", [False, True])
def test_error_is_kept_and_told(max_error, relative):
    spec = fit(np.exp, -4, 1, max_error, name="exp", relative=relative, grid=2**-5)
    assert 0 < spec.max_error <= max_error * 1.001
    x = np.linspace(-4, 1, 7001)
    off = np.abs(spec.evaluate(x) - np.exp(x))
    assert np.max(off / np.exp(x) if relative else off) <= spec.max_error * 1.001


def test_knots_are_on_the_grid_and_neighbours_meet():
    spec = fit(np.exp, -4, 1, 1e-3, name="exp", grid=0.25)
    knots = np.array(spec.knots)
    assert np.all(knots * 4 == np.rint(knots * 4))
    assert np.all(np.diff(knots) > 0)
    jump = np.abs(spec.evaluate(knots) - spec.evaluate(np.nextafter(knots, -9)))
    assert np.max(jump) <= 2 * spec.max_error


def test_fewest_knots():
    """One knot fewer cannot reach the error: try every placement."""
    spec = fit(np.exp, 0, 2, 1e-2, name="exp", grid=0.25)
    assert len(spec.knots) == 2
    single = [
        max(error(fit(np.exp, a, b, 9, name="e", grid=9), np.exp, a, b) for a, b in ((0, k), (k, 2)))
        for k in np.arange(0.25, 2, 0.25)
    ]
    assert min(single) > 1e-2


def test_pieces_are_balanced():
    """The same number of knots, but a last piece that is not better than it need be."""
    spec = fit(np.exp, 0, 2, 5e-3, name="exp", grid=2**-6)
    edges = [0, *spec.knots, 2]
    each = [error(spec, np.exp, a, np.nextafter(b, a)) for a, b in pairwise(edges)]
    assert max(each) < 1.2 * min(each)


def test_without_tails_the_last_pieces_go_on():
    spec = fit(np.exp, 0, 1, 1e-3, name="exp", grid=0.25)
    c0, c1, c2 = spec.pieces[-1]
    assert spec.evaluate(np.array([2.0]))[0] == pytest.approx(c0 + 2 * c1 + 4 * c2)


def test_refusals():
    with pytest.raises(FitError, match="out of reach with knots 1 apart"):
        fit(np.exp, 0, 4, 1e-6, name="exp", grid=1.0)
    with pytest.raises(FitError, match="empty"):
        fit(np.exp, 1, 1, 1e-2, name="exp")


@pytest.mark.long
def test_a_range_over_many_magnitudes_is_fitted_all_the_same():
    """Its grid has billions of places, of which few are looked at."""
    spec = functions.sqrt(1e-6, 1e4)
    assert len(spec.knots) < 60
    assert spec.max_error <= functions.RELATIVE_ERROR
