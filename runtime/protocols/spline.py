"""Functions of one variable, as quadratics between knots.

    y = q_0(x) + sum_j [x >= k_j]·(q_j - q_{j-1})(x)  +  sum_g [x >= k_g]·slope_g·x

The quadratics are integer polynomials over a ring that need only hold y: everything telescopes modulo
it, so x^2 may wrap outside the pieces that use it. Each difference drops all but `GUARD` of its extra
fraction bits before it is selected, by shifting shares in a ring that shrinks with it, which is free.
The second sum, the *gates*, carries the tails that grow (ReLU, GELU, SiLU) at x's own precision.
Cost: one comparison for all knots, one square, one selection for each knot, one truncation.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import ClassVar

import numpy as np

from ..base import integers
from ..base.ring import BIT, Fixed, Int64, Ring
from ..base.share import Share
from ..party.party import Party
from ..party.role import SERVER
from .booleans import SelectMade, select, select_offline
from .compare import CompareMade, Layout, Thresholds, compare, compare_offline
from .multiply import SquareMade, square, square_offline
from .truncate import TruncateMade, rescaling, truncate, truncate_offline

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
        Layout.of(self.compare_bits, self.thresholds)
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
    """[y] in ``spec.out``; within ``spec.units`` of the integer spline (`spline_clear`)."""
    spec.check(x.num)
    small = Fixed(spec.compare_bits)
    bits = compare(p, x.like(p.both(lambda: small.wrap(x.ring)), small), spec.thresholds, made.compare)
    out = Share(spec.out, x.shape, p.both(lambda: np.zeros(x.shape, np.uint64)))
    if made.jumps is not None and made.quad is not None:
        out = _plus(p, out, truncate(p, _quadratics(p, x, bits, spec, made), spec.out, made.quad))
    if made.gates is not None and made.gated is not None:
        where = [g for g, _ in spec.gates]
        slopes = np.array([s for _, s in spec.gates], np.int64).view(np.uint64)
        tiled = (*x.shape, len(where))
        chosen = select(
            p,
            Share(BIT, tiled, p.both(lambda: np.ascontiguousarray(bits.ring[..., where]))),
            Share(x.num, tiled, p.both(lambda: x.num.wrap(x.ring[..., None] * slopes))),
            made.gates,
        )
        summed = x.like(p.both(lambda: x.num.wrap(chosen.ring.sum(axis=-1, dtype=np.uint64))))
        out = _plus(p, out, truncate(p, summed, spec.out, made.gated))
    return out


def _quadratics(p: Party, x: Share, bits: Share, spec: SplineSpec, made: SplineMade) -> Share:
    quad, narrow = spec.quad, spec.narrow
    drop = np.uint64(quad.scale - narrow.scale)
    plain = Fixed(quad.bits)
    reduced = x.like(p.both(lambda: plain.wrap(x.ring)), plain)
    squared = square(p, reduced, made.square) if made.square is not None else None
    table = np.array(spec.pieces, object)
    jumps = list(spec.jumps)

    def combine(rows: np.ndarray) -> Ring:
        """The party's share of each row's quadratic, narrowed; constants are the server's."""
        c0, c1, c2 = (np.array([int(c) % 2**64 for c in rows[:, i]], np.uint64) for i in range(3))
        out = reduced.ring[..., None] * c1
        if squared is not None:
            out += squared.ring[..., None] * c2
        if p.role is not SERVER:
            return quad.wrap(out) >> drop
        unit = np.uint64(bool(drop))  # as in truncate: two floors, rounded without bias
        return narrow.wrap((quad.wrap(out + c0 - unit) >> drop) + unit)

    assert made.jumps is not None
    tiled = (*x.shape, len(jumps))
    steps = table[[j + 1 for j in jumps]] - table[jumps]
    chosen = select(
        p,
        Share(BIT, tiled, p.both(lambda: np.ascontiguousarray(bits.ring[..., jumps]))),
        Share(narrow, tiled, p.both(lambda: combine(steps))),
        made.jumps,
    )
    return Share(
        narrow,
        x.shape,
        p.both(lambda: narrow.wrap(chosen.ring.sum(axis=-1, dtype=np.uint64) + combine(table[:1])[..., 0])),
    )


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
