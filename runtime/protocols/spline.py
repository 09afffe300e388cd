"""Functions of one variable, as quadratics between knots.

    y = q_0(x) + sum_j [x >= k_j]·(q_j - q_{j-1})(x)  +  sum_g [x >= k_g]·slope_g·x

The quadratics are integer polynomials over a ring that need only hold y: everything telescopes modulo
it, so x^2 may wrap outside the pieces that use it. Each difference drops all but `GUARD` of its extra
fraction bits before it is selected, by shifting shares in a ring that shrinks with it, which is free.
The second sum, the *gates*, carries the tails that grow (ReLU, GELU, SiLU) at x's own precision.
Cost: one comparison for all knots, one square, one selection for each knot, one truncation; its flights are
those of a comparison, a selection and a truncation.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache, partial, reduce
from typing import ClassVar

import numpy as np

from ..base import integers
from ..base.ring import BIT, Fixed, Int64, Ring, known
from ..base.share import Share
from ..party.party import Party
from ..party.role import SERVER
from .booleans import Selected, SelectMade, select_all, select_offline
from .compare import CompareMade, Layout, Thresholds, compare_all, compare_offline
from .multiply import SquareMade, square, square_offline
from .truncate import TruncateMade, rescaling, truncate_all, truncate_offline

GUARD = 3
"""Fraction bits beyond the result's that differences of quadratics keep while they are selected."""


Piece = tuple[Int64, Int64, Int64]
"""A quadratic (c0, c1, c2)."""


@dataclass(frozen=True)
class SplineSpec:
    """Public integers of one spline.

    Attributes:
        thresholds: the knots, in units of x; ``compare_bits`` is the ring they are compared in, which
            must hold x - t for every knot t.
        quad: ring and scale of the quadratics; scale is x's twice, plus that of the coefficients.
        pieces: (knots + 1) rows (c0, c1, c2) with c0 + c1·x + c2·x^2 in units of ``quad``.
        gates: (knot index, integer slope).
        out: format of y.
    """

    thresholds: Thresholds
    compare_bits: int
    quad: Fixed
    pieces: tuple[Piece, ...]
    gates: tuple[tuple[int, Int64], ...]
    out: Fixed

    def __post_init__(self) -> None:
        if len(self.pieces) != len(self.thresholds.values) + 1:
            raise ValueError(
                f"{len(self.thresholds.values)} knots need one piece more, not {len(self.pieces)}"
            )
        if any(not 0 <= g < len(self.thresholds.values) for g, _ in self.gates):
            raise ValueError(f"gates {self.gates} name knots that are not there")

    def check(self, num: Fixed) -> None:
        """Raise ValueError unless all formats fit one another and an argument of format ``num``."""
        if self.compare_bits > num.bits:
            raise ValueError(f"a spline compares in {self.compare_bits} bits, more than its argument's {num}")
        if self.jumps and self.quad.bits > num.bits:
            raise ValueError(f"a spline over {self.quad} needs its argument in that ring, not {num}")
        Layout.of(self.compare_bits, self.thresholds, 1)
        if self.jumps:
            rescaling(self.narrow, self.out)
        if self.gates:
            rescaling(num, self.out)

    @property
    def curved(self) -> bool:
        return any(c2 for _, _, c2 in self.pieces)

    @property
    def narrow(self) -> Fixed:
        """The format in which quadratics are selected."""
        drop = max(0, self.quad.scale - self.out.scale - GUARD)
        return Fixed(self.quad.bits - drop, self.quad.scale - drop)

    @property
    def units(self) -> float:
        """How far two parties may be from `spline_clear`, in units of the result's last place.

        One for each truncation, and less than one narrow unit for each selected difference.
        """
        bound = 0.0
        if self.jumps:
            bound += 1 + (len(self.jumps) + 1) * 2.0 ** (self.out.scale - self.narrow.scale)
        return bound + (1 if self.gates else 0)

    @property
    def jumps(self) -> tuple[int, ...]:
        """Knots where the quadratic changes; the others only gate."""
        return tuple(j for j in range(len(self.pieces) - 1) if self.pieces[j] != self.pieces[j + 1])


@lru_cache(maxsize=256)
def centred(spec: SplineSpec) -> tuple[Piece, ...]:
    """The pieces as quadratics of the distance to the knot where each begins; of the first, where it ends.

    A plan holds coefficients modulo the ring of the quadratics; what they add up to at a knot is in it.
    """
    half = 1 << (spec.quad.bits - 1)
    knots = spec.thresholds.values

    def about(piece: Piece, knot: int) -> Piece:
        c0, c1, c2 = piece
        moved = (c0 + knot * (c1 + knot * c2), c1 + 2 * knot * c2, c2)
        a, b, c = ((each + half) % (2 * half) - half for each in moved)
        return a, b, c

    return tuple(about(piece, knot) for piece, knot in zip(spec.pieces, (knots[0], *knots), strict=True))


@dataclass(frozen=True, repr=False)
class SplineMade:
    TAG: ClassVar[str] = "spline"

    compare: CompareMade
    square: SquareMade | None
    jumps: SelectMade | None
    gates: SelectMade | None
    quad: TruncateMade | None
    gated: TruncateMade | None


def spline_offline(p: Party, num: Fixed, shape: tuple[int, ...], spec: SplineSpec) -> SplineMade:
    spec.check(num)
    return SplineMade(
        compare=compare_offline(p, Fixed(spec.compare_bits), shape, spec.thresholds),
        square=square_offline(p, Fixed(spec.quad.bits), shape) if spec.curved else None,
        jumps=select_offline(p, spec.narrow, (*shape, len(spec.jumps))) if spec.jumps else None,
        gates=select_offline(p, num, (*shape, len(spec.gates))) if spec.gates else None,
        quad=truncate_offline(p, spec.narrow, spec.out, shape) if spec.jumps else None,
        gated=truncate_offline(p, num, spec.out, shape) if spec.gates else None,
    )


def spline(p: Party, x: Share, spec: SplineSpec, made: SplineMade) -> Share:
    """[y] in ``spec.out``; within ``spec.units`` of the integer spline (`spline_clear`).

    The square is opened while knots are compared, and quadratics and gates are selected in the same flights,
    and so truncated.
    """
    spec.check(x.num)
    small, plain = Fixed(spec.compare_bits), Fixed(spec.quad.bits)
    reduced = x.like(p.both(lambda: plain.wrap(x.ring)), plain)
    squared: list[Share] = []

    def meanwhile() -> None:
        if made.square is not None:
            squared.append(square(p, reduced, made.square))

    narrowed = x.like(p.both(lambda: small.wrap(x.ring)), small)
    (bits,) = compare_all(p, [(narrowed, spec.thresholds, made.compare)], meanwhile)
    parts: list[_Part] = []
    if made.jumps is not None and made.quad is not None:
        parts.append(_quadratics(p, reduced, squared, bits, spec, made.jumps, made.quad))
    if made.gates is not None and made.gated is not None:
        parts.append(_gates(p, x, bits, spec, made.gates, made.gated))
    chosen = select_all(p, [part.selected for part in parts])
    summed = [_plus_all(p, *both) for both in zip(parts, chosen, strict=True)]
    cut = truncate_all(p, [(y, spec.out, part.made) for y, part in zip(summed, parts, strict=True)])
    zero = Share(spec.out, x.shape, p.both(lambda: np.zeros(x.shape, np.uint64)))
    return reduce(partial(_plus, p), cut, zero)


@dataclass(frozen=True, repr=False)
class _Part:
    """What a part of a spline selects along a last axis, to be summed with ``rest`` and truncated."""

    selected: Selected
    rest: Ring | None
    made: TruncateMade


def _quadratics(
    p: Party,
    x: Share,
    squared: Sequence[Share],
    bits: Share,
    spec: SplineSpec,
    select_made: SelectMade,
    made: TruncateMade,
) -> _Part:
    """Of x in the ring of quadratics, and its square where they are curved."""
    quad, narrow = spec.quad, spec.narrow
    drop = np.uint64(quad.scale - narrow.scale)
    table = np.array(spec.pieces, object)
    jumps = list(spec.jumps)

    def combine(rows: np.ndarray) -> Ring:
        """The party's share of each row's quadratic, narrowed; constants are the server's."""
        c0, c1, c2 = (np.array([int(c) % 2**64 for c in rows[:, i]], np.uint64) for i in range(3))
        out = x.ring[..., None] * c1
        for each in squared:
            out += each.ring[..., None] * c2
        if p.role is not SERVER:
            return quad.wrap(out) >> drop
        unit = np.uint64(bool(drop))  # as in truncate: two floors, rounded without bias
        return narrow.wrap((quad.wrap(out + c0 - unit) >> drop) + unit)

    steps = table[[j + 1 for j in jumps]] - table[jumps]
    shape = (*x.shape, len(jumps))
    where = Share(BIT, shape, p.both(lambda: np.ascontiguousarray(bits.ring[..., jumps])))
    differences = Share(narrow, shape, p.both(lambda: combine(steps)))
    first = p.both(lambda: combine(table[:1])[..., 0])
    return _Part((where, differences, select_made), first, made)


def _gates(
    p: Party, x: Share, bits: Share, spec: SplineSpec, select_made: SelectMade, made: TruncateMade
) -> _Part:
    at = [g for g, _ in spec.gates]
    slopes = np.array([s for _, s in spec.gates], np.int64).view(np.uint64)
    shape = (*x.shape, len(at))
    where = Share(BIT, shape, p.both(lambda: np.ascontiguousarray(bits.ring[..., at])))
    lines = Share(x.num, shape, p.both(lambda: x.num.wrap(x.ring[..., None] * slopes)))
    return _Part((where, lines, select_made), p.both(lambda: np.zeros(x.shape, np.uint64)), made)


def _plus_all(p: Party, part: _Part, chosen: Share) -> Share:
    """The sum over the last axis and what is added whatever is chosen."""

    def summed() -> Ring:
        return chosen.num.wrap(chosen.ring.sum(axis=-1, dtype=np.uint64) + known(part.rest))

    return Share(chosen.num, chosen.shape[:-1], p.both(summed))


def spline_clear(x: np.ndarray, num: Fixed, spec: SplineSpec) -> np.ndarray:
    """The integer meaning: signed x in, signed y in ``spec.out``, truncations rounded to nearest."""
    return integers.spline(
        x.astype(np.int64),
        num,
        knots=spec.thresholds.values,
        pieces=spec.pieces,
        gates=spec.gates,
        quad=spec.quad,
        out=spec.out,
    )


def _plus(p: Party, a: Share, b: Share) -> Share:
    return a.like(p.both(lambda: a.num.wrap(a.ring + b.ring)))
