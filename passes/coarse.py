"""What was measured, before it decides anything: on a grid so coarse that the last bits of floating point, in
which one machine's sums of products differ from another's, do not show.

A number changes sides of a grid's line where it comes within some ulps of it: of numbers that mean something
about one in 10¹¹. Those that are exact (a mask's 1, a zero) lie on lines and stay there.
"""

from __future__ import annotations

import math
from collections.abc import Callable

_FINE, _COARSE = 36, 16
"""Leading bits: within the first, numbers are the same to all machines; the second make the grid."""

_UNSEEN = 2.0**-12
"""The part of a fit's error by which its coefficients are rounded."""

Piece = tuple[float, float, float]


def nearest(x: float) -> float:
    """``x`` in its leading bits."""
    return _snapped(x, _COARSE, round) if math.isfinite(x) else x


def outward(lo: float, hi: float) -> tuple[float, float]:
    """The least interval on the grid that holds ``lo`` to ``hi``, but for what machines differ in."""
    return _down(lo), -_down(-hi)


def quadratic(piece: Piece, reach: float, off: float) -> Piece:
    """``piece`` a + b·x + c·x², which is off by ``off`` for x up to ``reach``, in units that change little of
    that, and are large beside what two solvers differ in."""
    if not off:
        return piece
    a, b, c = (unit(off * _UNSEEN) / (2 * unit(reach)) ** power for power in range(3))
    return a * round(piece[0] / a), b * round(piece[1] / b), c * round(piece[2] / c)


def unit(x: float) -> float:
    """The power of two at or below ``x``, which is positive."""
    return math.ldexp(0.5, math.frexp(x)[1])


def _down(x: float) -> float:
    if not math.isfinite(x):
        return x
    return _snapped(_snapped(x, _FINE, round), _COARSE, math.floor)


def _snapped(x: float, bits: int, to_whole: Callable[[float], int]) -> float:
    mantissa, exponent = math.frexp(x)
    return math.ldexp(to_whole(math.ldexp(mantissa, bits)), exponent - bits)
