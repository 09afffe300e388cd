"""Piecewise quadratics of least mean square error, with knots on a grid and tails outside.

What such a spline is summed over, scores of a softmax or values of a hidden layer, hears of its errors as a
sum. A fit by least squares has no error in the mean on any of its pieces, so that sums grow with the root of
their number; one of least maximal error has twice and more in a model's outputs at as many knots. Where knots
stand is found among all places of the grid (Bellman and Roth, J. Amer. Statist. Assoc. 1969).
"""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from ppc.frontend.ir.spline import SplineSpec
from ppc.passes.coarse import quadratic, unit
from ppc.passes.spline_fit import FitError, Floats, Function, Piece, measured, on_grid

_POINTS = 16
"""In a cell of the grid."""

MOST_KNOTS = 64

_UNSEEN = 2.0**-12
"""The part of the square of the error that differences between places must have to count."""


def least_squares(
    f: Function,
    lo: float,
    hi: float,
    error: float,
    *,
    name: str,
    grid: float,
    left: Piece | None = None,
    right: Piece | None = None,
    domain: tuple[float, float] | None = None,
) -> SplineSpec:
    """The spline with the fewest knots whose error is at most ``error``: √∫(s − f)² over [lo, hi].

    ``left`` and ``right`` are the pieces outside; they reach into [lo, hi] as far as that is good, and one
    that is not given continues its neighbour. The ends lie on the grid. ``domain`` is where ``max_error`` is
    measured, [lo, hi] unless told; ``error`` of the result is its root mean square between the tails.

    Raises FitError where ``MOST_KNOTS`` do not reach the error.
    """
    if not (lo < hi and on_grid(lo, grid) and on_grid(hi, grid)):
        raise FitError(f"{name}: [{lo:g}, {hi:g}] does not lie on a grid of {grid:g}")
    edges = np.asarray(lo + grid * np.arange(round((hi - lo) / grid) + 1), np.float64)
    cells = _Cells(f, edges, unit(error**2) * _UNSEEN)
    costs = [np.zeros(len(edges)) if tail is None else cells.tail(tail) for tail in (left, right)]
    before = costs[0] if left is not None else np.where(np.arange(len(edges)), np.inf, 0.0)
    after = costs[1][-1] - costs[1] if right is not None else np.where(edges == edges[-1], 0.0, np.inf)
    steps: list[NDArray[np.int64]] = []
    while True:
        if len(steps) > MOST_KNOTS:
            raise FitError(f"{name}: error {error:g} is out of reach with {MOST_KNOTS} knots {grid:g} apart")
        offers = before[:, None] + cells.cost
        steps.append(offers.argmin(axis=0))
        before = offers.min(axis=0)
        last = int((before + after).argmin())
        if (before + after)[last] <= error**2:
            break
    cuts = [last]
    for step in reversed(steps):
        cuts.append(int(step[cuts[-1]]))
    cuts.reverse()
    rms = float(np.sqrt((before + after)[last] / (edges[cuts[-1]] - edges[cuts[0]])))
    pieces = [cells.piece(a, b, rms) for a, b in pairwise(cuts)]
    inner = cuts[left is None : len(cuts) - (right is None)]
    spec = SplineSpec(
        knots=tuple(float(edges[i]) for i in inner),
        pieces=(*([left] if left is not None else []), *pieces, *([right] if right is not None else [])),
        gates=(),
        domain=domain or (lo, hi),
        max_error=0.0,
        function=name,
    )
    return replace(measured(spec, f), error=rms)


class _Cells:
    """Best quadratics between any two edges, and the integrals of their squared errors, in whole ``units``:
    of two places that are alike, as a symmetric function has, the same is taken on all machines."""

    def __init__(self, f: Function, edges: Floats, units: float) -> None:
        self._edges, self._width, self._units = edges, float(edges[1] - edges[0]), units
        middles = (np.arange(_POINTS) + 0.5) / _POINTS * self._width
        self._x = edges[:-1, None] + middles
        self._y = np.asarray(f(self._x), np.float64)
        count = len(edges)
        self.cost = np.full((count, count), np.inf)
        self._found = np.zeros((count, count, 3))
        for first in range(count - 1):
            self._from(first)

    def _from(self, first: int) -> None:
        """All pieces that begin at one edge, as polynomials of the distance to it in their own lengths."""
        t, y = (self._x[first:] - self._edges[first]) / self._width, self._y[first:]
        powers = np.stack([(t**k).sum(axis=1) for k in range(5)], axis=1).cumsum(axis=0)
        right = np.stack([(y * t**k).sum(axis=1) for k in range(3)], axis=1).cumsum(axis=0)
        length = np.arange(1.0, len(t) + 1)[:, None]
        powers /= length ** np.arange(5)
        right /= length ** np.arange(3)
        gram = powers[:, np.add.outer(np.arange(3), np.arange(3))]
        c = np.linalg.solve(gram, right[..., None])[..., 0]
        squares = (y * y).sum(axis=1).cumsum()
        rest = np.maximum(0.0, squares - (c * right).sum(axis=1))
        self.cost[first, first + 1 :] = self._whole(rest * self._width / _POINTS)
        self._found[first, first + 1 :] = c / (length * self._width) ** np.arange(3)

    def _whole(self, costs: Floats) -> Floats:
        return np.asarray(np.round(costs / self._units) * self._units, np.float64)

    def piece(self, first: int, last: int, off: float) -> Piece:
        """The quadratic from one edge to another, off by some ``off``."""
        a, (c0, c1, c2) = float(self._edges[first]), map(float, self._found[first, last])
        found = (c0 - a * (c1 - a * c2), c1 - 2 * a * c2, c2)
        return quadratic(found, max(abs(a), abs(float(self._edges[last]))), off)

    def tail(self, piece: Piece) -> Floats:
        """The integral of a given piece's squared error up to each edge."""
        c0, c1, c2 = piece
        off = (self._y - c0 - self._x * (c1 + self._x * c2)) ** 2
        return self._whole(np.concatenate([[0.0], off.sum(axis=1).cumsum()]) * self._width / _POINTS)
