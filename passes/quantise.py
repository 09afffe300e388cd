"""Splines with coefficients of few bits.

A quadratic at scale 2·f + g, for x at scale f, has c₂ at scale g, c₁ at g + f and c₀ at g + 2f. So only c₂ is
coarse, and what rounding it changes is a multiple of x², nearly a line on a short piece: c₁ and c₀ take that
line over (Chebyshev: x² ≈ (a + b)·x − (a² + 6ab + b²)/8 on [a, b], off by (b − a)²/8 at most).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np

from ppc.frontend.ir.spline import SplineSpec
from ppc.passes.octaves import BY_OCTAVES
from ppc.passes.ranges import Range

_MOST = 60
"""Bits of c₂ for x at a scale of 0 or more. Where x is large enough to be kept at a scale of −f, c₂ is
smaller by x², and has 2·f more."""

_TOLERANCE = 0.4
"""The part of its error that rounding a spline's coefficients may add, where the largest was fitted."""

_OF_SQUARES = 0.6
"""The same, where its root mean square was."""

RELATIVE = frozenset({"reciprocal", "rsqrt", "sqrt"})
"""Functions fitted to a relative error."""


@dataclass(frozen=True)
class Quantised:
    """``spline`` with rounded knots and coefficients; ``bits`` is c₂'s scale g."""

    spline: SplineSpec
    bits: int

    def values(self, x: Range) -> tuple[float, float]:
        """Least and largest value of the pieces alone, without gates, over the range of x."""
        bare = replace(self.spline, gates=())
        at = np.concatenate([np.linspace(x.lo, x.hi, 4097), [k for k in bare.knots if x.lo <= k <= x.hi]])
        value = bare.evaluate(np.concatenate([at, np.nextafter(at[at > x.lo], -np.inf)]))
        return float(value.min()), float(value.max())


def quantise(spline: SplineSpec, scale: int, x: Range) -> Quantised:
    """The spline for x at ``scale``, with the fewest coefficient bits that add but a part of its error.

    Raises ValueError where ``_MOST`` bits do not suffice.
    """
    knots = tuple(math.floor(k * 2.0**scale + 0.5) * 2.0**-scale for k in spline.knots)
    rounded = replace(spline, knots=knots)
    edges = [min(x.lo, knots[0]), *knots, max(x.hi, knots[-1])]
    most = _MOST - 2 * min(scale, 0)
    tolerance = _OF_SQUARES * spline.error or _TOLERANCE * spline.max_error
    for bits in range(most + 1):
        pieces = []
        for (a, b), piece in zip(pairwise(edges), spline.pieces, strict=True):
            allowed = tolerance * _size(spline, piece, a, b)
            found = _rounded(piece, a, b, bits, scale)
            if spline.function in BY_OCTAVES and found != piece:  # a power of two is exact or nothing
                break
            if abs(found[2] - piece[2]) * (b - a) ** 2 / 8 > allowed:
                break
            pieces.append(found)
        else:
            return Quantised(replace(rounded, pieces=tuple(pieces)), bits)
    raise ValueError(f"{spline}: no {most} bits hold its coefficients for x in [{x.lo:g}, {x.hi:g}]")


def _size(spline: SplineSpec, piece: tuple[float, float, float], a: float, b: float) -> float:
    """What the error is relative to."""
    if spline.function not in RELATIVE:
        return 1.0
    return min(abs(piece[0] + x * (piece[1] + x * piece[2])) for x in (a, b))


def _rounded(
    piece: tuple[float, float, float], a: float, b: float, bits: int, scale: int
) -> tuple[float, float, float]:
    c0, c1, c2 = piece
    coarse = _to(c2, bits)
    off = c2 - coarse
    return (
        _to(c0 - off * (a * a + 6 * a * b + b * b) / 8, bits + 2 * scale),
        _to(c1 + off * (a + b), bits + scale),
        coarse,
    )


def _to(x: float, scale: int) -> float:
    return math.floor(x * 2.0**scale + 0.5) * 2.0**-scale
