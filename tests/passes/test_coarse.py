"""What decides is on a grid on which two machines' last bits are the same."""

from __future__ import annotations

import math

import numpy as np
import pytest

from ppc.passes.coarse import nearest, outward, quadratic, unit

ULP = 2.0**-52


@pytest.mark.parametrize("x", [1.0, -1.0, 0.0, 8192.0, 0.625, -32.0, math.inf, -math.inf])
def test_what_is_exact_stays(x):
    assert outward(x, x) == (x, x)
    assert nearest(x) == x


def test_an_interval_is_widened_by_little_and_cut_by_nothing_that_counts():
    random = np.random.default_rng(1)
    for a, b in random.normal(size=(500, 2)) * 10.0 ** random.integers(-9, 9, (500, 1)):
        lo, hi = sorted((a, b))
        low, high = outward(lo, hi)
        assert low <= lo + abs(lo) * 2.0**-36
        assert high >= hi - abs(hi) * 2.0**-36
        assert lo - low <= abs(lo) * 2.0**-15
        assert high - hi <= abs(hi) * 2.0**-15


def test_last_bits_do_not_show():
    """Sums of products by another kernel differ by some ulps: also where they are near a line of the grid."""
    random = np.random.default_rng(2)
    for x in (*random.normal(size=500), 1.0, 3.0, 2.0**-20):
        for off in (-40, -1, 1, 40):
            other = x * (1 + off * ULP)
            assert outward(x, 2 * abs(x)) == outward(other, 2 * abs(other))
            assert nearest(x) == nearest(other)


def test_a_unit_is_a_power_of_two():
    assert [unit(x) for x in (1.0, 1.5, 2.0, 0.3)] == [1.0, 1.0, 2.0, 0.25]


@pytest.mark.parametrize(("reach", "off"), [(8.0, 1e-3), (3.0, 2e-5), (700.0, 1e-6), (0.3, 0.01)])
def test_a_piece_is_the_same_from_two_solvers_and_hardly_worse(reach, off):
    random, x = np.random.default_rng(3), np.linspace(-reach, reach, 99)
    for piece in random.normal(size=(200, 3)) / [1, reach, reach**2]:
        found = quadratic(tuple(piece), reach, off)
        other = quadratic(tuple(piece * (1 + 40 * ULP)), reach, off)
        assert found == other
        a, b, c = piece - found
        assert np.abs(a + b * x + c * x**2).max() <= off / 1000


def test_a_piece_that_is_exact_stays():
    assert quadratic((0.1, 0.2, 0.3), 8.0, 0.0) == (0.1, 0.2, 0.3)
