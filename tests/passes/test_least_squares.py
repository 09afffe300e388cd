"""Fits by least squares: the fewest knots, the best places for them, and no error in the mean."""

from itertools import combinations, pairwise

import numpy as np
import pytest

from ppc.passes.least_squares import least_squares
from ppc.passes.spline_fit import FitError

X = np.linspace(-4, 1, 200_001)[:-1]
STEP = X[1] - X[0]


def of_exp(error: float, **more):
    return least_squares(np.exp, -4.0, 1.0, error, name="exp", grid=0.25, **more)


def integral(off: np.ndarray) -> float:
    return float(np.sqrt((off**2).sum() * STEP))


@pytest.mark.parametrize("error", [0.1, 1e-2, 1e-3])
def test_the_error_is_kept_and_told(error):
    spec = of_exp(error)
    off = spec.evaluate(X) - np.exp(X)
    assert integral(off) <= error * 1.01
    assert spec.error == pytest.approx(np.sqrt((off**2).mean()), rel=0.02)
    assert spec.max_error == pytest.approx(np.abs(off).max(), rel=0.01)


def test_no_places_are_better_and_no_knot_can_be_spared():
    """One knot fewer, or the same number elsewhere: every placement is tried."""
    spec = of_exp(2e-2)
    assert len(spec.knots) == 2

    def best(knots: tuple[float, ...]) -> float:
        total = 0.0
        for a, b in pairwise((-4.0, *knots, 1.0)):
            x = X[(a <= X) & (b > X)]
            total += ((np.polyval(np.polyfit(x, np.exp(x), 2), x) - np.exp(x)) ** 2).sum() * STEP
        return total**0.5

    grid = np.arange(-3.75, 1, 0.25)
    found = integral(spec.evaluate(X) - np.exp(X))
    assert found <= min(best(two) for two in combinations(grid, 2)) * 1.001
    assert min(best((one,)) for one in grid) > 2e-2


def test_errors_of_a_piece_cancel():
    spec = of_exp(1e-2)
    for a, b in pairwise((-4.0, *spec.knots, 1.0)):
        x = np.linspace(a, b, 10_001)[:-1] + (b - a) / 20_000
        off = spec.evaluate(x) - np.exp(x)
        assert abs(off.mean()) < 1e-3 * np.abs(off).max()


def test_tails_hold_outside_and_reach_in():
    spec = least_squares(
        np.tanh, -9.0, 9.0, 1e-2, name="tanh", grid=0.25, left=(-1.0, 0.0, 0.0), right=(1.0, 0.0, 0.0)
    )
    assert spec.evaluate(np.array([-50.0, -8.0, 8.0, 50.0])).tolist() == [-1, -1, 1, 1]
    assert -4 < spec.knots[0] == -spec.knots[-1] or spec.knots[0] < 0 < spec.knots[-1] < 4
    assert all((k / 0.25).is_integer() for k in spec.knots)


def test_one_tail():
    spec = of_exp(1e-2, left=(0.0, 0.0, 0.0))
    assert spec.pieces[0] == (0.0, 0.0, 0.0)
    assert spec.knots[0] == -4.0  # e^-4 is more than the error


def test_refusals():
    with pytest.raises(FitError, match=r"64 knots 0\.25 apart"):
        of_exp(1e-12)
    with pytest.raises(FitError, match=r"does not lie on a grid of 0\.25"):
        least_squares(np.exp, -4.1, 1.0, 1e-2, name="exp", grid=0.25)
