"""Piecewise quadratics: how a function of one real is written for two parties."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ppc.runtime.base.meaning import spline
from ppc.runtime.base.namespace import NUMPY


@dataclass(frozen=True)
class SplineSpec:
    """c₀ + c₁·x + c₂·x² between neighbouring knots, and on top slope·x·[x ≥ k] for every gate.

    ``pieces`` has one entry more than ``knots``; the first holds below the first knot, the last from the last
    knot on. ``gates`` are (index of a knot, slope): tails as of ReLU, computed apart at full precision, so
    that the pieces stay small. ``max_error`` was measured against ``function`` on ``domain``;
    ``error`` is the root of its mean square between the tails, where that is what was fitted, else 0.
    """

    knots: tuple[float, ...]
    pieces: tuple[tuple[float, float, float], ...]
    gates: tuple[tuple[int, float], ...]
    domain: tuple[float, float]
    max_error: float
    function: str
    error: float = 0.0

    def __post_init__(self) -> None:
        if len(self.pieces) != len(self.knots) + 1:
            raise ValueError(
                f"{len(self.knots)} knots need {len(self.knots) + 1} pieces, not {len(self.pieces)}"
            )
        if any(a >= b for a, b in zip(self.knots, self.knots[1:], strict=False)):
            raise ValueError(f"knots must increase: {self.knots}")
        if any(len(piece) != 3 for piece in self.pieces):
            raise ValueError("a piece has three coefficients")
        for index, _ in self.gates:
            if not 0 <= index < len(self.knots):
                raise ValueError(f"a gate at knot {index}, but there are {len(self.knots)} knots")
        if not self.domain[0] <= self.domain[1]:
            raise ValueError(f"empty domain {self.domain}")

    def __str__(self) -> str:
        return f"{self.function}/{len(self.knots)}"

    def evaluate(self, x: ArrayLike) -> NDArray[np.float64]:
        """The spline's value at each x, in double precision."""
        return np.asarray(spline(NUMPY, self, np.asarray(x)), np.float64)
