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
from math import prod
from typing import ClassVar

import numpy as np

from ..base import integers
from ..base.ring import BIT, Fixed, Int64, Ring, known
from ..base.share import Share
from ..party.party import Party
from ..party.role import SERVER, Role
from .booleans import Selected, SelectMade, select_all, select_offline
from .compare import CompareMade, Layout, Thresholds, compare_all, compare_offline
from .halves import FLIGHT, parts
from .multiply import SquareMade, Squaring, square_offline
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
class SplinePartMade:
    """Of a run of elements."""

    TAG: ClassVar[str] = "spline-part"

    compare: CompareMade
    square: SquareMade | None
    jumps: SelectMade | None
    gates: SelectMade | None
    quad: TruncateMade | None
    gated: TruncateMade | None


@dataclass(frozen=True, repr=False)
class SplineMade:
    TAG: ClassVar[str] = "spline"

    parts: list[SplinePartMade]


def spline_offline(
    p: Party,
    num: Fixed,
    shape: tuple[int, ...],
    spec: SplineSpec,
    sender: Role = SERVER,
    flight: int = FLIGHT,
) -> SplineMade:
    """``sender`` and ``flight`` as for a comparison."""
    spec.check(num)
    n = prod(shape)
    squares = square_offline(p, Fixed(spec.quad.bits), (n,)) if spec.curved else None

    def part_offline(at: slice) -> SplinePartMade:
        count = at.stop - at.start
        return SplinePartMade(
            compare=compare_offline(p, Fixed(spec.compare_bits), (count,), spec.thresholds, sender, flight),
            square=None if squares is None else squares.some(at),
            jumps=select_offline(p, spec.narrow, (count, len(spec.jumps))) if spec.jumps else None,
            gates=select_offline(p, num, (count, len(spec.gates))) if spec.gates else None,
            quad=truncate_offline(p, spec.narrow, spec.out, (count,)) if spec.jumps else None,
            gated=truncate_offline(p, num, spec.out, (count,)) if spec.gates else None,
        )

    return SplineMade([part_offline(at) for at in _parts(n, num, spec)])


def _parts(n: int, num: Fixed, spec: SplineSpec) -> list[slice]:
    """Which elements take turns."""
    compared = Layout.of(spec.compare_bits, spec.thresholds, n).bits(len(spec.thresholds.values))
    squared = 2 * spec.quad.bits if spec.curved else 0
    jumps = len(spec.jumps) * (1 + spec.narrow.bits) if spec.jumps else 0
    gates = len(spec.gates) * (1 + num.bits)
    return parts(n, compared + squared + 2 * (jumps + gates))


def spline(p: Party, x: Share, spec: SplineSpec, made: SplineMade) -> Share:
    """[y] in ``spec.out``; within ``spec.units`` of the integer spline (`spline_clear`).

    The square is opened while knots are compared, and quadratics and gates are selected in the same flights,
    and so truncated. Parts of many elements take turns.
    """
    spec.check(x.num)

    def part(at: slice, each: SplinePartMade) -> Share:
        some = Share(x.num, (at.stop - at.start,), p.both(lambda: x.ring.reshape(-1)[at]))
        return _spline(p, some, spec, each)

    cuts = zip(_parts(x.size, x.num, spec), made.parts, strict=True)
    done = p.turns.beside([partial(part, *each) for each in cuts])
    joined = p.both(lambda: np.concatenate([each.ring for each in done]).reshape(x.shape))
    return Share(spec.out, x.shape, joined)


def _spline(p: Party, x: Share, spec: SplineSpec, made: SplinePartMade) -> Share:
    small, plain = Fixed(spec.compare_bits), Fixed(spec.quad.bits)
    reduced = x.like(p.both(lambda: plain.wrap(x.ring)), plain)
    squaring = [] if made.square is None else [Squaring(p, reduced, made.square)]
    narrowed = x.like(p.both(lambda: small.wrap(x.ring)), small)
    (bits,) = compare_all(p, [(narrowed, spec.thresholds, made.compare)], squaring)
    squared = [each.squared() for each in squaring]
    terms: list[_Term] = []
    if made.jumps is not None and made.quad is not None:
        terms.append(_quadratics(p, reduced, squared, bits, spec, made.jumps, made.quad))
    if made.gates is not None and made.gated is not None:
        terms.append(_gates(p, x, bits, spec, made.gates, made.gated))
    chosen = select_all(p, [each.selected for each in terms])
    summed = [_plus_all(p, *both) for both in zip(terms, chosen, strict=True)]
    cut = truncate_all(p, [(y, spec.out, each.made) for y, each in zip(summed, terms, strict=True)])
    zero = Share(spec.out, x.shape, p.both(lambda: np.zeros(x.shape, np.uint64)))
    return reduce(partial(_plus, p), cut, zero)


@dataclass(frozen=True, repr=False)
class _Term:
    """What a term of a spline selects along a last axis, to be summed with ``rest`` and truncated."""

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
) -> _Term:
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
    return _Term((where, differences, select_made), first, made)


def _gates(
    p: Party, x: Share, bits: Share, spec: SplineSpec, select_made: SelectMade, made: TruncateMade
) -> _Term:
    at = [g for g, _ in spec.gates]
    slopes = np.array([s for _, s in spec.gates], np.int64).view(np.uint64)
    shape = (*x.shape, len(at))
    where = Share(BIT, shape, p.both(lambda: np.ascontiguousarray(bits.ring[..., at])))
    lines = Share(x.num, shape, p.both(lambda: x.num.wrap(x.ring[..., None] * slopes)))
    return _Term((where, lines, select_made), p.both(lambda: np.zeros(x.shape, np.uint64)), made)


def _plus_all(p: Party, term: _Term, chosen: Share) -> Share:
    """The sum over the last axis and what is added whatever is chosen."""

    def summed() -> Ring:
        return chosen.num.wrap(chosen.ring.sum(axis=-1, dtype=np.uint64) + known(term.rest))

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
