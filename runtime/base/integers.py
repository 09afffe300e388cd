"""What truncations and splines mean on plain integers; two parties are off by their rounding alone."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from .ring import Fixed, Signed


def rounded(x: Signed, drop: int) -> Signed:
    """x / 2^drop to the nearest integer."""
    return x if drop == 0 else (x + (1 << (drop - 1))) >> drop


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
    """
    places = np.array(knots, np.int64)
    at = np.searchsorted(places, x, side="right")
    c0, c1, c2 = (np.array([piece[i] % 2**64 for piece in pieces], np.uint64)[at] for i in range(3))
    ring = x.view(np.uint64)
    y = rounded(quad.signed(quad.wrap(c0 + ring * (c1 + ring * c2))), quad.scale - out.scale)
    for index, slope in gates:
        gated = num.signed(num.wrap(np.where(x >= places[index], slope * x, 0)))
        y = y + rounded(gated, num.scale - out.scale)
    return y
