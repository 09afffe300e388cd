"""Piecewise quadratics of least maximal error, with knots on a coarse grid.

Each piece is the polynomial of degree 2 of best (weighted) uniform approximation, found by Remez's
exchange on a dense set of points (Stiefel's single-point form, which cannot cycle on a finite set). Knots
are multiples of ``grid``, because comparisons of one value with several knots share the digits below it.
For an error E the greedy choice, "from the left, the longest piece within E", uses the fewest pieces; a
bisection over E then finds the smallest E which that number of pieces reaches, so that no piece is much
better than its neighbours.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import cast

import numpy as np
from numpy.typing import NDArray

from ppc.frontend.ir.spline import SplineSpec
from ppc.passes.coarse import quadratic

Piece = tuple[float, float, float]
Floats = NDArray[np.float64]
Function = Callable[[Floats], Floats]

_CHEBYSHEV = (1 - np.cos(np.linspace(0, math.pi, 129))) / 2
"""Points of a piece, as parts of it."""
_MEASURE = 20_001


class FitError(ValueError):
    """No spline on this grid reaches the error asked for."""


def fit(
    f: Function,
    lo: float,
    hi: float,
    max_error: float,
    *,
    name: str,
    relative: bool = False,
    grid: float = 2.0**-4,
) -> SplineSpec:
    """The spline with the fewest knots within ``max_error`` of ``f`` on [lo, hi].

    ``relative`` measures the error as a part of ``f``. Neighbouring pieces differ by at most twice the error.

    Raises FitError where a single cell of the grid already misses the error.
    """
    if not lo < hi:
        raise FitError(f"{name}: [{lo:g}, {hi:g}] is empty")
    knots, pieces = _balanced(_Cells(f, relative, grid), lo, hi, max_error, name)
    spec = SplineSpec(
        knots=tuple(knots),
        pieces=tuple(pieces),
        gates=(),
        domain=(lo, hi),
        max_error=0.0,
        function=name,
    )
    return measured(spec, f, relative=relative)


def measured(spec: SplineSpec, f: Function, *, relative: bool = False) -> SplineSpec:
    """The same spline with its ``max_error`` against ``f`` on its domain, measured on a dense set."""
    return replace(spec, max_error=error(spec, f, *spec.domain, relative=relative))


def error(spec: SplineSpec, f: Function, lo: float, hi: float, *, relative: bool = False) -> float:
    """The largest error of ``spec`` against ``f`` on [lo, hi], from a dense set and both sides of knots."""
    inside = [k for k in spec.knots if lo < k <= hi]
    x = np.unique(np.concatenate([np.linspace(lo, hi, _MEASURE), inside, np.nextafter(inside, -np.inf)]))
    y = f(x)
    off = np.abs(spec.evaluate(x) - y)
    return float(np.max(off / np.abs(y) if relative else off))


def on_grid(x: float, grid: float) -> bool:
    return float(x / grid).is_integer()


def minimax_quadratic(x: Floats, y: Floats, weight: Floats) -> tuple[Piece, float]:
    """The quadratic p of least max weight·abs(y − p(x)) over the points, and that maximum.

    ``x`` is increasing with at least 4 points.
    """
    for found in _remez(x, y, weight):
        last = found
    return quadratic(last.piece, max(abs(x[0]), abs(x[-1])), last.worst / weight.max()), last.worst


@dataclass(frozen=True)
class _Trial:
    """A quadratic on the way to the best, whose own error lies between ``level`` and ``worst``."""

    piece: Piece
    level: float
    worst: float


def _remez(x: Floats, y: Floats, weight: Floats) -> Iterator[_Trial]:
    """Remez's exchange, one point at a time; the last is the best."""
    middle, half = (x[0] + x[-1]) / 2, (x[-1] - x[0]) / 2
    t = (x - middle) / half
    basis = np.stack([np.ones_like(t), t, t * t], axis=1)
    last = len(x) - 1
    reference = [round(last * (1 - math.cos(math.pi * i / 3)) / 2) for i in range(4)]
    signs = np.array([1.0, -1.0, 1.0, -1.0])
    for _ in range(100):
        rows = np.column_stack([basis[reference], signs / weight[reference]])
        solved = np.linalg.solve(rows, y[reference])
        level = float(abs(solved[3]))
        residual = weight * (y - basis @ solved[:3])
        worst = int(np.argmax(np.abs(residual)))
        error = float(abs(residual[worst]))
        a, b, c = solved[0], solved[1] / half, solved[2] / half**2
        piece = (float(a - b * middle + c * middle**2), float(b - 2 * c * middle), float(c))
        yield _Trial(piece, level, error)
        if error <= level * (1 + 1e-6) + 1e-15 or worst in reference:
            break
        _exchange(reference, worst, residual)


def _exchange(reference: list[int], new: int, residual: Floats) -> None:
    """Bring ``new`` into the reference so that residuals still alternate in sign."""
    sign = residual[new] > 0
    if new < reference[0]:
        if (residual[reference[0]] > 0) == sign:
            reference[0] = new
        else:
            reference[:] = [new, *reference[:-1]]
    elif new > reference[-1]:
        if (residual[reference[-1]] > 0) == sign:
            reference[-1] = new
        else:
            reference[:] = [*reference[1:], new]
    else:
        after = next(i for i, at in enumerate(reference) if at > new)
        same = after if (residual[reference[after]] > 0) == sign else after - 1
        reference[same] = new


class _Cells:
    """Best pieces between two abscissae, and what is known of their errors: the search asks for the same
    ones again and again, mostly only whether they are within a limit."""

    def __init__(self, f: Function, relative: bool, grid: float) -> None:
        self.f, self.relative, self.grid = f, relative, grid
        self._known: dict[tuple[float, float], tuple[float, float]] = {}

    def piece(self, a: float, b: float) -> Piece:
        return minimax_quadratic(*self._points(a, b))[0]

    def within(self, a: float, b: float, limit: float) -> bool:
        """Whether the best piece errs by ``limit`` at most; ends as soon as that is certain."""
        low, high = self._known.get((a, b), (0.0, math.inf))
        if low <= limit < high:
            for trial in _remez(*self._points(a, b)):
                low, high = max(low, trial.level), min(high, trial.worst)
                if not low <= limit < high:
                    break
            else:
                low = high = trial.worst
            self._known[a, b] = low, high
        return high <= limit

    def _points(self, a: float, b: float) -> tuple[Floats, Floats, Floats]:
        x = a + (b - a) * _CHEBYSHEV
        x[0], x[-1] = a, np.nextafter(b, a)
        y = cast(Floats, np.asarray(self.f(x), np.float64))
        return x, y, 1 / np.abs(y) if self.relative else np.ones_like(y)

    def stops(self, start: float, stop: float) -> _Stops:
        return _Stops(range(math.floor(start / self.grid) + 1, math.ceil(stop / self.grid)), self.grid, stop)


@dataclass(frozen=True)
class _Stops:
    """The places where a piece may end: multiples of the grid, and the end. There may be billions."""

    multiples: range
    grid: float
    end: float

    def __len__(self) -> int:
        return len(self.multiples) + 1

    def __getitem__(self, i: int) -> float:
        return self.multiples[i] * self.grid if i < len(self.multiples) else self.end


def _greedy(cells: _Cells, start: float, stop: float, limit: float) -> list[float] | None:
    """Ends of the longest pieces within ``limit``, from the left; None where one cell is too long."""
    stops, ends, at, first = cells.stops(start, stop), [], start, 0
    while first < len(stops):
        if not cells.within(at, stops[first], limit):
            return None
        good, bad = first, len(stops)
        while bad - good > 1:
            middle = (good + bad) // 2
            if cells.within(at, stops[middle], limit):
                good = middle
            else:
                bad = middle
        at, first = stops[good], good + 1
        ends.append(at)
    return ends


def _balanced(
    cells: _Cells, start: float, stop: float, limit: float, name: str
) -> tuple[list[float], list[Piece]]:
    """Inner knots and pieces on [start, stop]: the fewest within ``limit``, and of those the best."""
    ends = _greedy(cells, start, stop, limit)
    if ends is None:
        raise FitError(f"{name}: error {limit:g} is out of reach with knots {cells.grid:g} apart")
    low, high = 0.0, limit
    for _ in range(12):
        middle = (low + high) / 2
        better = _greedy(cells, start, stop, middle)
        if better is not None and len(better) <= len(ends):
            ends, high = better, middle
        else:
            low = middle
    edges = [start, *ends]
    return ends[:-1], [cells.piece(a, b) for a, b in pairwise(edges)]
