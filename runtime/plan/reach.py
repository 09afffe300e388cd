"""How far values go where a step reads them as numbers, and how far they may.

Sums, products and layout are right modulo the ring whatever happens in between; so a value beyond its ring
does harm only where its size counts: in a truncation whose carry survives, a comparison, a spline's
quadratics, a gate, a maximum's differences, an output. Each such place is a `Reading`.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from ..base.ring import Fixed, Signed
from ..protocols.spline import Piece, SplineSpec, centred
from ..protocols.truncate import rescaling

Floats = NDArray[np.float64]

OFF = 0.25
"""A function fitted to a relative error has left its range where it is wrong by this part."""

_RELATIVE: dict[str, Callable[[Floats], Floats]] = {
    "reciprocal": lambda x: 1 / x,
    "rsqrt": lambda x: 1 / np.sqrt(x),
    "sqrt": np.sqrt,
}
STEPS_AN_OCTAVE, OCTAVES = 16, 6
"""How finely, and how far out from the outer knots, it is looked for the end of what is right."""


@dataclass(frozen=True, repr=False)
class Reading:
    """``far`` (samples) in reals must stay below ``limit``; ``when`` says what reads it, after "reaches
    …"."""

    when: str
    far: Floats
    limit: float


@dataclass(frozen=True)
class Reach:
    """One reading of one sample. ``step`` is the place of the reader, ``name`` the tensor that is read.

    It is about the client's values, as outputs are: of the simulator alone, which is the owner of both.
    """

    step: int
    name: str
    when: str
    reached: float
    limit: float

    @property
    def wrapped(self) -> bool:
        return not self.reached < self.limit

    @property
    def headroom(self) -> float:
        """Bits between what was reached and what is held; below 0 where it wrapped."""
        if math.isinf(self.reached):
            return -math.inf
        return math.log2(self.limit / self.reached) if self.reached > 0 else math.inf

    def __str__(self) -> str:
        if not self.wrapped:
            return f"{self.name} reaches {self.reached:g} {self.when}, of {self.limit:g}"
        times = f"{self.reached / self.limit:.3g} times"
        return f"{self.name} reaches {self.reached:g} {self.when}, {times} the {self.limit:g} held there"


def most(x: Signed) -> Floats:
    """The largest magnitude of each sample (samples, …), in units."""
    rows = x.reshape(len(x), -1)
    found: Floats = np.maximum(rows.max(axis=1).astype(np.float64), -rows.min(axis=1).astype(np.float64))
    return found


def truncating(x: Signed, old: Fixed, new: Fixed) -> tuple[Reading, ...]:
    """Where the carry between the shares survives, x needs a sign and a spare bit."""
    if not rescaling(old, new)[1]:
        return ()
    return (Reading("when it is truncated", most(x) * _unit(old), _held(old, 2)),)


def outgoing(x: Signed, num: Fixed) -> tuple[Reading, ...]:
    rows = x.reshape(len(x), -1)
    far = _signed(rows.max(axis=1).astype(np.float64), -rows.min(axis=1).astype(np.float64), num)
    return (Reading("as a result", far * _unit(num), _held(num, 1)),)


def _signed(above: Floats, below: Floats, num: Fixed) -> Floats:
    """The further of two distances from zero; a ring holds one number more below it, which is let be."""
    found: Floats = np.maximum(above, np.where(below == 2.0 ** (num.bits - 1), below - 1, below))
    return found


def apart(x: Signed, num: Fixed, drop: int = 0) -> tuple[Reading, ...]:
    """Two values of a row are compared by their difference, which dropped bits may take two units further."""
    rows = (x.max(axis=-1).astype(np.float64) - x.min(axis=-1)).reshape(len(x), -1).max(axis=1)
    held = _held(num, 1) - (2.0 ** (drop + 1) * _unit(num) if drop else 0.0)
    return (Reading("between two values of a row", rows * _unit(num), held),)


def through(x: Signed, num: Fixed, spec: SplineSpec, function: str) -> tuple[Reading, ...]:
    """Of a spline: its comparisons, its quadratics beyond the outer knots, its gates, and where it holds."""
    rows, unit = x.reshape(len(x), -1), _unit(num)
    lo, hi = rows.min(axis=1).astype(np.float64), rows.max(axis=1).astype(np.float64)
    knots = spec.thresholds.values
    above, below = np.maximum(hi, hi - knots[0]), np.maximum(-lo, knots[-1] - lo)
    compared = _signed(above, below, Fixed(spec.compare_bits))
    found = [Reading("beside a knot", compared * unit, _held(Fixed(spec.compare_bits, num.scale), 1))]
    if spec.jumps:
        left, *_, right = centred(spec)
        ends = np.maximum(
            np.where(lo < knots[0], _furthest(left, lo - knots[0], np.minimum(hi - knots[0], 0.0)), 0.0),
            np.where(hi > knots[-1], _furthest(right, np.maximum(lo - knots[-1], 0.0), hi - knots[-1]), 0.0),
        )
        ends = np.maximum(ends - 1, 0.0)  # a tail of 1 is the power of two itself, and that is held
        spare = 2 if rescaling(spec.narrow, spec.out)[1] else 1
        found.append(Reading("as a quadratic's value", ends * _unit(spec.quad), _held(spec.quad, spare)))
    if spec.gates:
        found += truncating(x, num, spec.out)
    if function in _RELATIVE:
        least, greatest = reliable(spec, num, function)
        with np.errstate(divide="ignore"):
            inverse = np.where(lo > 0, 1 / np.maximum(lo * unit, 1e-300), np.inf)
        found.append(Reading(f"under {function}", np.maximum(hi, 0) * unit, greatest))
        found.append(Reading(f"as its inverse, under {function}", inverse, 1 / least))
    return tuple(found)


def _unit(num: Fixed) -> float:
    return float(2.0**-num.scale)


def _held(num: Fixed, spare: int) -> float:
    return float(2.0 ** (num.bits - spare - num.scale))


def _at(piece: Piece, x: Floats) -> Floats:
    c0, c1, c2 = map(float, piece)
    return c0 + x * (c1 + x * c2)


def _furthest(piece: Piece, a: Floats, b: Floats) -> Floats:
    """The largest magnitude of a quadratic on [a, b]; of what is constant none, for it goes nowhere."""
    _, c1, c2 = piece
    if not c1 and not c2:
        return np.zeros_like(a)
    found: Floats = np.maximum(np.abs(_at(piece, a)), np.abs(_at(piece, b)))
    if c2:
        vertex = np.full_like(a, -c1 / (2 * c2))
        found = np.where((a < vertex) & (vertex < b), np.maximum(found, np.abs(_at(piece, vertex))), found)
    return found


@lru_cache(maxsize=256)
def reliable(spec: SplineSpec, num: Fixed, function: str) -> tuple[float, float]:
    """From where to where the outer pieces stay within `OFF` of the function, to a sixteenth of an octave."""
    knots, ends = spec.thresholds.values, []
    for knot, piece, sign in zip(
        (knots[0], knots[-1]), (centred(spec)[0], centred(spec)[-1]), (-1, 1), strict=True
    ):
        x = knot * 2.0 ** (sign * np.arange(STEPS_AN_OCTAVE * OCTAVES) / STEPS_AN_OCTAVE)
        wanted = _RELATIVE[function](x * _unit(num))
        off = np.abs(_at(piece, x - knot) * _unit(spec.quad) - wanted) > OFF * wanted
        beyond = int(np.argmax(off)) if off.any() else len(x)
        ends.append(float(x[max(0, beyond - 1)]) * _unit(num))
    return ends[0], ends[1]
