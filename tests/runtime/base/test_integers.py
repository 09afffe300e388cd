"""Rounding and splines against Python's integers, which do not wrap by themselves."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from ppc.runtime.base.integers import rounded, spline
from ppc.runtime.base.ring import Fixed


def wrapped(value: int, bits: int) -> int:
    return (value + 2 ** (bits - 1)) % 2**bits - 2 ** (bits - 1)


def nearest(value: int, drop: int) -> int:
    """Halves go up."""
    return int((Fraction(value, 2**drop) + Fraction(1, 2)) // 1)


@given(st.integers(-(2**40), 2**40), st.integers(0, 20))
def test_rounding_is_to_the_nearest(x: int, drop: int) -> None:
    assert rounded(np.array([x]), drop).tolist() == [nearest(x, drop)]


NUM, OUT = Fixed(16, 6), Fixed(16, 4)


@given(
    st.integers(-(2**15), 2**15 - 1),
    st.lists(st.integers(-(2**14), 2**14), min_size=1, max_size=4, unique=True).map(sorted),
    st.integers(12, 62),
    st.integers(-(2**62), 2**62),
    st.data(),
)
def test_a_spline_is_its_formula(x: int, knots: list[int], bits: int, top: int, data: st.DataObject) -> None:
    coefficient = st.integers(-abs(top), abs(top))
    piece = st.tuples(coefficient, coefficient, coefficient)
    pieces = data.draw(st.lists(piece, min_size=len(knots) + 1, max_size=len(knots) + 1))
    gates = data.draw(st.lists(st.tuples(st.integers(0, len(knots) - 1), st.integers(-3, 3)), max_size=3))
    got = spline(np.array([x]), NUM, knots=knots, pieces=pieces, gates=gates, quad=Fixed(bits, 10), out=OUT)
    c0, c1, c2 = pieces[sum(x >= k for k in knots)]
    want = nearest(wrapped(c0 + c1 * x + c2 * x * x, bits), 6)
    want += sum(nearest(wrapped(slope * x, NUM.bits), 2) for g, slope in gates if x >= knots[g])
    assert got.tolist() == [want]
