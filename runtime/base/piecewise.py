"""The integer meaning of a spline: quadratics between knots, and tails.

y = ⌊q_j(x)⌉ + Σ_g [x >= k_g]·⌊slope_g·x⌉        j knots are at most x
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from .. import _ring
from .ring import Fixed


def piecewise(
    x: NDArray[np.int64],
    num: Fixed,
    knots: Sequence[int],
    quad: Fixed,
    pieces: Sequence[tuple[int, int, int]],
    gates: Sequence[tuple[int, int]],
    scale: int,
) -> NDArray[np.int64]:
    """y in units of 2^-scale, of x's shape, not wrapped.

    Args:
        x: signed integers of format ``num``.
        knots: ascending, in x's units.
        pieces: one more than knots; (c0, c1, c2) with c0 + c1·x + c2·x² in units of ``quad``, in whose ring
            that wraps before it is rounded.
        gates: (index of a knot, slope); slope·x wraps in x's ring.

    Raises ValueError where ``scale`` is above quad's, or x's where there are gates, or 64 below.
    """
    at = np.array(knots, np.int64)
    tails = np.array([(knots[g], slope) for g, slope in gates], np.int64).reshape(-1, 2)
    y = _ring.spline(
        np.ascontiguousarray(x).ravel(),
        at,
        np.array(pieces, np.int64),
        quad.bits,
        quad.scale - scale,
        tails,
        num.bits,
        num.scale - scale if gates else 0,
    )
    return y.reshape(x.shape)
