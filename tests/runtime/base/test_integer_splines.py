"""Splines of integers against Python's, in every bit."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_array_equal

from ppc.runtime.base.integers import spline as of_integers
from ppc.runtime.base.ring import Fixed

INT64 = st.integers(-(2**63), 2**63 - 1)


def signed(value, bits):
    return (value + 2 ** (bits - 1)) % 2**bits - 2 ** (bits - 1)


def rounded(value, drop):
    return value if drop == 0 else signed(value + 2 ** (drop - 1), 64) >> drop


def by_python(x, num, knots, quad, pieces, gates, scale):
    c0, c1, c2 = pieces[sum(x >= k for k in knots)]
    y = rounded(signed(c0 + c1 * x + c2 * x * x, quad.bits), quad.scale - scale)
    for g, slope in gates:
        y += rounded(signed(slope * x if x >= knots[g] else 0, num.bits), num.scale - scale)
    return signed(y, 64)


def piecewise(x, num, knots, quad, pieces, gates, scale):
    out = Fixed(1, scale)  # the ring is not looked at
    return of_integers(x, num, knots=knots, pieces=pieces, gates=gates, quad=quad, out=out)


def check(x, *rest):
    got = piecewise(np.array(x, np.int64), *rest)
    assert got.dtype == np.int64
    assert_array_equal(got, [by_python(each, *rest) for each in x])


@st.composite
def splines(draw, least=0):
    """(num, knots, quad, pieces, gates, scale)"""
    knots = sorted(draw(st.lists(INT64 | st.integers(-50, 50), min_size=least, max_size=20)))
    pieces = [draw(st.tuples(INT64, INT64, INT64 | st.just(0))) for _ in range(len(knots) + 1)]
    gates = draw(st.lists(st.tuples(st.integers(0, len(knots) - 1), INT64), max_size=3)) if knots else []
    bits, drops, scale = st.integers(1, 64), st.integers(0, 63), draw(st.integers(-9, 9))
    num, quad = (Fixed(draw(bits), scale + draw(drops)) for _ in range(2))
    return num, knots, quad, pieces, gates, scale


@pytest.mark.long
@settings(deadline=None, max_examples=300)
@given(st.lists(INT64 | st.integers(-50, 50), max_size=30), splines())
def test_any_spline(x, spline):
    check(x, *spline)


@pytest.mark.long
@settings(deadline=None, max_examples=100)
@given(splines(least=1))
def test_beside_and_on_every_knot(spline):
    near = [signed(k + off, 64) for k in spline[1] for off in (-1, 0, 1)]
    check(near, *spline)


@pytest.mark.parametrize("size", [1, 255, 256, 257, 1000])
def test_any_number_of_values(size):
    x = np.random.default_rng(size).integers(-(2**20), 2**20, size).tolist()
    knots = [-(2**18), -5, 2**10, 2**19]
    pieces = [(3, -1, 2), (-7, 5, 0), (0, 0, 0), (2**30, -(2**20), -1), (9, 8, 7)]
    check(x, Fixed(30, 12), knots, Fixed(40, 24), pieces, [(1, 3), (3, -2)], 8)


def test_shapes_and_views_are_kept():
    x = np.arange(-12, 12).reshape(2, 3, 4).swapaxes(0, 2)
    rest = (Fixed(20, 3), [0], Fixed(20, 6), [(1, 2, 3), (4, 5, 6)], [(0, 2)], 1)
    got = piecewise(x, *rest)
    assert got.shape == (4, 3, 2)
    assert_array_equal(got.ravel(), piecewise(x.ravel(), *rest))
    assert piecewise(x[:0], *rest).shape == (0, 3, 2)


GOOD = {
    "num": Fixed(20, 4),
    "knots": [0, 1],
    "quad": Fixed(20, 6),
    "pieces": [(0, 1, 2)] * 3,
    "gates": [(0, 1)],
    "scale": 2,
}


@pytest.mark.parametrize(
    "wrong",
    [
        {"knots": [1, 0]},
        {"knots": [0]},
        {"pieces": [(0, 1)] * 3},
        {"quad": Fixed(20, 1)},
        {"quad": Fixed(20, 66)},
        {"num": Fixed(20, 1)},
        {"num": Fixed(20, 66)},
    ],
    ids=str,
)
def test_what_is_no_spline_is_refused(wrong):
    x = np.zeros(3, np.int64)
    assert_array_equal(piecewise(x, **GOOD), 0)
    with pytest.raises(ValueError, match=r"ascend|piece|dropped"):
        piecewise(x, **GOOD | wrong)


def test_without_gates_xs_scale_is_free():
    piecewise(np.zeros(3, np.int64), **GOOD | {"gates": [], "num": Fixed(20, -9)})
