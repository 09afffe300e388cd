"""Which scale every value of a graph is kept at, and which ring every step needs.

A value of typical size r is kept at scale p − ⌈log₂ r⌉: p bits of it matter. A product leaves the sum of its
operands' scales, and that *raw* value flows on through sums and layout as it is; it is cut back to its own
scale only where a product, a spline or a maximum reads it, so that there is one truncation between two
products. Where values of different raw scales meet in a sum, the coarser is multiplied up, which costs
nothing.

Rings go backwards. A step needs ⌈log₂ of its range⌉ + scale + 2 bits: a sign, and a spare bit so that the
value plus an offset has a known top bit when it is truncated. Operands must come in the ring of the step that
reads them. They are truncated straight into the largest ring that some reader needs; smaller ones are had for
free.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from ppc.frontend.ir import ops
from ppc.frontend.ir.graph import Graph, IntType, IRError, Op, Owner, walk
from ppc.passes.errors import REMEDY, RangeError, place
from ppc.passes.legal import LAYOUT, PRODUCTS, SUMS
from ppc.passes.octaves import BY_OCTAVES, is_octave, is_reduced, scaled_by_octave
from ppc.passes.owners import owners
from ppc.passes.quantise import RELATIVE, Quantised, quantise
from ppc.passes.ranges import SLACK, Range, Ranges, rounded
from ppc.passes.watched import ROOM, SCORES, roomy
from ppc.runtime.base.ring import MAX_BITS, Fixed

WIDEST = 48
"""Bits of the largest ring of a product under encryption; in which a value is left for another graph, too."""

_FINEST = 24
"""No value is kept finer than this, however small it is."""

_FINEST_OF_OCTAVES = 36
"""The same for what spans octaves, of which the smallest keep their digits too."""


ROUNDING = 1 + 2**-6
"""Times its range a value may go by what was rounded on its way: a tanh of 1 comes as a little more at times,
and a ring that ends at 1 would be left."""


@dataclass(frozen=True)
class Precision:
    """Bits kept below the leading one of a typical value: of ``value``s that a product reads, of both factors
    of a ``gated`` one (of two activations, number by number), of a ``weight`` matrix, of ``channel`` factors
    (a norm's γ), of public ``scalar`` factors, and of what is ``square``d only to be summed, if it were
    summed alone: errors of n squares average out to 1/√n. ``spline`` is the scale at which x enters a spline
    of absolute error; ``fit``, how often a spline's error is halved, or doubled where it is negative."""

    value: int = 10
    gated: int = 10
    weight: int = 12
    channel: int = 11
    scalar: int = 12
    square: int = 11
    spline: int = 9
    fit: int = 0


def integer_bits(magnitude: float) -> int:
    """The least b, possibly negative, with magnitude ≤ 2^b."""
    if math.isinf(magnitude):
        return MAX_BITS + 1
    return math.ceil(math.log2(magnitude)) if magnitude > 0 else -MAX_BITS


class Formats:
    """Scales forwards, rings backwards."""

    def __init__(
        self,
        graph: Graph,
        ranges: Ranges,
        precision: Precision,
        guard: bool,
        carried: Mapping[str, Fixed | None],
    ) -> None:
        self.graph, self.ranges, self.precision, self.guard = graph, ranges, precision, guard
        self.carried = carried
        self.roomy = roomy(graph) if guard else frozenset()
        self.owner = owners(graph)
        self.shared = [
            op for op in walk(graph) if self.owner[op] is Owner.SHARED and not isinstance(op, ops.Input)
        ]
        self.users: dict[Op, list[Op]] = {op: [] for op in walk(graph)}
        for op in self.shared:
            for each in dict.fromkeys(op.operands):
                self.users[each].append(op)
        self.results = {op: name for name, op in graph.outputs.items()}
        self.kept_whole: set[Op] = {op for op in graph.inputs if op.carried}
        self.wanted: dict[Op, int] = {}
        self.demanded: dict[Op, bool] = {}
        self.splines: dict[Op, Quantised] = {}
        self.raw: dict[Op, int] = {}
        self.home: dict[Op, int] = {}
        self.ring: dict[Op, int] = {}
        self.home_ring: dict[Op, int] = {}
        self.home |= {op: self.settled(op.name).scale for op in self.kept_whole}
        for op in self.shared:
            if type(op) in LAYOUT and not self.kept_whole.isdisjoint(op.operands):
                self.kept_whole.add(op)
        for op in reversed(self.shared):
            self._want(op)
        for op in self.shared:
            self._scale(op)
        for op in reversed(self.shared):
            self._level(op)
            self._ring(op)
        for op in self.shared:
            self._keep_ring(op)

    # ---- scales

    def natural(self, op: Op, bits: int | None = None) -> int:
        """The scale at which ``bits`` of a typical value are kept; of the least, where they span octaves."""
        if isinstance(op, ops.Spline) and is_octave(op):
            return max(0, -min(math.floor(math.log2(c0)) for c0, _, _ in op.spline.pieces))
        reached = self.ranges[op]
        least = reached.lo if scaled_by_octave(op) else 0.0
        typical = least or reached.rms or reached.magnitude or 1.0
        if not math.isfinite(typical):
            raise _too_wide(op, 0, reached)
        scale = (self.precision.value if bits is None else bits) - math.ceil(math.log2(typical))
        return min(max(0, scale), _FINEST_OF_OCTAVES if least else _FINEST)

    def _want(self, op: Op) -> None:
        demands = [self.revealed(op)] if op in self.results else []
        passing = []
        for user in self.users[op]:
            if type(user) in PRODUCTS:
                demands.append(self.natural(op, self.kept(user)))
            elif isinstance(user, ops.Spline):
                demands.append(self.entry(user))
            elif isinstance(user, ops.ReduceMax):
                demands.append(self.wanted[user])
            else:
                passing.append(self.wanted[user])
        self.demanded[op] = bool(demands)
        self.wanted[op] = max(demands or passing, default=self.natural(op))

    def revealed(self, op: Op) -> int:
        """The scale of a result, or of what is carried on."""
        settled = self.carried.get(self.results[op])
        return self.natural(op) if settled is None else settled.scale

    def settled(self, name: str) -> Fixed:
        """The format of what earlier runs have left."""
        found = self.carried.get(name)
        if found is None:
            raise IRError(f"input {name} is carried over, and no graph has settled its format")
        return found

    def kept(self, user: Op) -> int:
        """Bits of a shared operand that a product reads."""
        summed = self.users.get(user)
        if (
            isinstance(user, ops.Square)
            and summed
            and all(isinstance(each, ops.ReduceSum) for each in summed)
        ):
            averaged = min(user.type.size // each.type.size for each in summed)
            return max(1, self.precision.square - math.ceil(math.log2(averaged) / 2))
        if isinstance(user, ops.Mul) and self.gates(user):
            return self.precision.gated
        return self.precision.value

    def gates(self, op: ops.Mul) -> bool:
        """Whether it multiplies two activations, number by number, and not a row by a number."""
        shape, shared = op.type.shape, all(self.owner[each] is Owner.SHARED for each in op.operands)
        return shared and op.a.type.shape == op.b.type.shape == shape and shape[-1:] != (1,)

    def entry(self, op: ops.Spline) -> int:
        """The scale at which x enters."""
        if op.spline.function in RELATIVE | BY_OCTAVES:
            return self.precision.value + 1 - math.floor(math.log2(op.spline.domain[0]))
        if all(c2 == 0.0 for _, _, c2 in op.spline.pieces):
            return max(self.wanted[op], self.natural(op))
        return self.precision.spline

    def factor(self, op: Op, user: Op) -> int:
        """The scale of an operand of a product."""
        if op in self.home:
            return min(self.home[op], self.natural(op, self.kept(user)))
        if _whole(op):
            return 0
        if isinstance(op, ops.Const):
            table = isinstance(user, ops.MatMul) and _whole(user.a)
            bits = self.precision.value if table else self.precision.weight
            if isinstance(user, ops.Mul):
                bits = self.precision.scalar if op.value.size == 1 else self.precision.channel
            most = self.constant(op, bits)
            # how many bits a secret number ends in would tell of it what its size does not
            return most if op.secret and op.value.size == 1 else _exact_scale(op.value, most)
        return self.natural(op, self.precision.weight + 2)

    def constant(self, op: ops.Const, bits: int) -> int:
        rms = math.sqrt(float(np.mean(np.square(op.value, dtype=np.float64)))) or 1.0
        return max(0, bits - math.ceil(math.log2(rms)))

    def _scale(self, op: Op) -> None:
        match op:
            case ops.Square(x=x):
                self.raw[op] = 2 * self.factor(x, op)
            case ops.MatMul(a=a, b=b) | ops.Mul(a=a, b=b):
                self.raw[op] = self.factor(a, op) + self.factor(b, op)
            case ops.Spline(x=x):
                self._spline(op, x)
                return
            case _:
                # a smaller operand (a row's mean) is cut to the larger one's scale and not the reverse
                known = [each for each in op.operands if each in self.home]
                largest = max((each.type.size for each in known), default=0)
                scales = [self.home[each] for each in known if each.type.size == largest]
                self.raw[op] = max(scales, default=self.wanted[op])  # the client's and the server's, unscaled
        cut = self.demanded[op] and op not in self.kept_whole
        self.home[op] = min(self.raw[op], self.wanted[op]) if cut else self.raw[op]

    def _spline(self, op: ops.Spline, x: Op) -> None:
        entry = min(self.entry(op), self.home[x])
        try:
            self.splines[op] = quantise(op.spline, entry, self.argument(op))
        except ValueError as fault:
            raise RangeError(f"{place(op)}: {fault}. {REMEDY}") from None
        most = entry if op.spline.gates else 2 * entry + self.splines[op].bits
        self.raw[op] = self.home[op] = min(self.wanted[op], most)

    def argument(self, op: ops.Spline) -> Range:
        """x's range, with the slack that exp is given."""
        x = self.ranges[op.x]
        x = replace(x, lo=self.room(op.x) * x.lo)
        return replace(x, hi=max(x.hi, SLACK)) if op.spline.function == "exp" else x

    # ---- rings

    def need(self, op: Op, scale: int) -> int:
        """Bits that hold the value at this scale with a sign and a spare bit."""
        return max(2, integer_bits(self.room(op) * self.ranges[op].magnitude) + scale + 2)

    def room(self, op: Op) -> float:
        """How many times its range a value may go without leaving its ring."""
        return ROOM if op in self.roomy else ROUNDING

    def _ring(self, op: Op) -> None:
        asked = max((self.asked(op, user) for user in self.users[op]), default=0)
        home = max(asked, self.need(op, self.home[op]))
        if isinstance(op, ops.ReduceMax):
            ring = self.compared(op)
            home = ring if asked <= ring else home
        elif self.home[op] < self.raw[op] or _shrinks(op) or _looks_up(op):
            ring = self.need(op, self.raw[op])
            if self.results.get(op) in self.carried:
                home = max(home, WIDEST)
        else:
            ring = home = max(home, self.need(op, self.raw[op]))
        if max(ring, home) > MAX_BITS:
            raise _too_wide(op, max(ring, home), self.ranges[op])
        self.ring[op], self.home_ring[op] = ring, home

    def _keep_ring(self, op: Op) -> None:
        """What comes in the larger ring already is not cut, only to be moved there again."""
        if _shrinks(op) and self.home[op] == self.raw[op]:
            (x,) = op.operands
            if self.home_ring.get(x, 0) >= self.home_ring[op]:
                self.ring[op] = self.home_ring[op]

    def _level(self, op: Op) -> None:
        """Products of one value with several weights share a ring, and so the value's encryption."""
        group = [u for u in self.users[op] if isinstance(u, ops.MatMul) and isinstance(u.b, ops.Const)]
        ring = max((self.ring[each] for each in group), default=0)
        for each in group:
            if self.home[each] == self.raw[each]:
                self.home_ring[each] = ring
            self.ring[each] = ring

    def asked(self, op: Op, user: Op) -> int:
        """The ring in which ``user`` reads ``op``; 0 where it reads a version of its own."""
        if type(user) in SUMS | LAYOUT and self.home[op] > self.raw[user]:
            return 0
        if type(user) in PRODUCTS:
            # with room for the bits that are dropped, a coarser version is had for free
            return self.ring[user] + self.home[op] - self.factor(op, user)
        if isinstance(user, ops.Spline):
            entry = self.spline_entry(user)
            return (
                max(self.quad(user).bits, self.width(user), self.need(op, entry))
                if entry == self.home[op]
                else 0
            )
        if isinstance(user, ops.ReduceMax):
            return self.compared(user)
        return self.ring[user]

    def spline_entry(self, op: ops.Spline) -> int:
        return min(self.entry(op), self.home[op.x])

    def quad(self, op: ops.Spline) -> Fixed:
        """The ring and scale of the quadratics."""
        scale = 2 * self.spline_entry(op) + self.splines[op].bits
        far = max(map(abs, self.splines[op].values(self.argument(op))))
        if not is_reduced(op):  # which ends where its argument's ring does
            far *= ROUNDING
        bits = max(2, integer_bits(far) + scale + 2)
        if bits > MAX_BITS:
            raise _too_wide(op, bits, self.argument(op))
        return Fixed(bits, scale)

    def width(self, op: ops.Spline) -> int:
        """Bits that hold x and its distance to every knot."""
        x, knots = self.argument(op), op.spline.knots
        far = max(abs(x.lo), abs(x.hi), abs(x.hi - knots[0]), abs(x.lo - knots[-1]))
        return max(2, integer_bits(ROUNDING * far) + self.spline_entry(op) + 1)

    def compared(self, op: ops.ReduceMax) -> int:
        """Bits in which the difference of two values of a row and the maximum itself can be told."""
        x = self.ranges[op.x]
        scale = self.home[op.x]
        apart = self.room(op.x) * (x.hi - x.lo) + rounded(op)
        return max(integer_bits(apart) + scale + 1, self.need(op.x, scale))

    # ---- the guard

    def watched(self, op: Op) -> float:
        """How far up a value goes that is still held, and has a turn of its ring above it that is noticed."""
        if isinstance(op, ops.ReduceMax):
            return max(self.ranges[op].hi, SCORES * self.ranges[op].hi)
        return 2.0 ** integer_bits(self.ranges[op.operands[0]].hi)


def _too_wide(op: Op, bits: int, reached: Range) -> RangeError:
    """No ring of at most 64 bits holds the value."""
    needs = f"needs a ring of {bits} bits, more than {MAX_BITS}" if bits else "needs no end of bits"
    return RangeError(f"{place(op)} {needs}; its range is {reached}. {REMEDY}")


def _whole(op: Op) -> bool:
    """A value of small integers."""
    while isinstance(op, ops.Reshape | ops.Transpose | ops.Broadcast):
        op = op.x
    return isinstance(op, ops.OneHot) or isinstance(op.type.num, IntType)


def _exact_scale(value: NDArray[np.generic], most: int) -> int:
    """The least scale at which ``value`` is exact, or ``most``."""
    few = value.ravel()[:_FEW]  # a weight's first numbers tell that it is none
    return next((scale for scale in range(most) if _is_whole(few, scale) and _is_whole(value, scale)), most)


_FEW = 64


def _is_whole(value: NDArray[np.generic], scale: int) -> bool:
    scaled = value.astype(np.float64) * 2.0**scale
    return np.array_equal(scaled, np.rint(scaled))


def _shrinks(op: Op) -> bool:
    """A sum or a slice is moved to a larger ring after it, when there is less to move."""
    return isinstance(op, ops.ReduceSum | ops.Slice)


def _looks_up(op: Op) -> bool:
    """So are the rows of a table, of which a number for each row that there is was opened."""
    return isinstance(op, ops.MatMul) and isinstance(op.a, ops.OneHot) and op.a.type.size > op.type.size
