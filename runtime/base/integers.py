"""What truncations and splines mean on plain integers; two parties are off by their rounding alone."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from .. import _ring
from .ring import Fixed, Signed


def rounded(x: Signed, drop: int) -> Signed:
    """x / 2^drop to the nearest integer."""
    if drop == 0:
        return x
    y = x + (1 << (drop - 1))
    y >>= drop
    return y


def spline(
    x: Signed,
    num: Fixed,
    *,
    knots: Sequence[int],
    pieces: Sequence[tuple[int, int, int]],
    gates: Sequence[tuple[int, int]],
    quad: Fixed,
    out: Fixed,
) -> Signed:
    """A piecewise quadratic, and gates on top of it, of x of format ``num``; y in units of ``out``.

    Between knots, in units of x, it is c0 + c1·x + c2·x², in the ring and units of ``quad``. A gate, of the
    number of a knot and a slope, adds slope·x from that knot on, in x's own ring. The sum is not wrapped.

    Raises ValueError where a scale rises, or falls by 64 bits or more.
    """
    places = np.array(knots, np.int64)
    tails = np.array([(places[index], slope) for index, slope in gates], np.int64).reshape(-1, 2)
    y = _ring.spline(
        np.ascontiguousarray(x).ravel(),
        places,
        np.array([[c % 2**64 for c in piece] for piece in pieces], np.uint64).view(np.int64),
        quad.bits,
        quad.scale - out.scale,
        tails,
        num.bits,
        num.scale - out.scale if gates else 0,
    )
    return y.reshape(x.shape)
