"""Put a graph into fixed point: the formats that `formats` chooses become types, and rescalings between them.

What the client or the server owns is encoded where it meets a share: ``Cast`` to a Fixed, or a ``Const`` with
one. So is what earlier runs have left, in the format that the graph which leaves it has settled: in a wide
ring, since smaller ones are had for free. It is joined to what is new and moved about, but never cut as a
whole, which would cost a truncation of all of it in every run.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np

from ppc.frontend.ir import ops
from ppc.frontend.ir.graph import Graph, Op, Owner, walk
from ppc.passes.formats import Formats, Precision
from ppc.passes.legal import check_legal
from ppc.passes.ranges import Range, Ranges
from ppc.passes.watched import is_watched
from ppc.runtime.base.ring import Fixed


@dataclass(frozen=True)
class FixedGraph:
    """``graph`` with Fixed types wherever a value is shared; ``ranges`` of its ops in reals; ``watched``, how
    far the argument of a spline, or a maximum, may go before a guard says so (`passes/watched.py`)."""

    graph: Graph
    ranges: Ranges
    watched: Mapping[Op, float] = field(default_factory=dict)


def assign_scale(
    graph: Graph,
    ranges: Ranges,
    precision: Precision | None = None,
    *,
    guard: bool = True,
    carried: Mapping[str, Fixed | None] | None = None,
) -> FixedGraph:
    """The graph in fixed point. ``graph`` is legal after ``approximate``, ``ranges`` are its own; with
    ``guard`` rings have the room that one needs. ``carried`` are outputs that are left for inputs of
    the name, in the formats that another graph has settled, or None where this one does.

    Raises IRError for an op that is not, RangeError where a ring would need more than 64 bits.
    """
    check_legal(graph, "approximate")
    formats = Formats(graph, ranges, precision or Precision(), guard, carried or {})
    return _Rebuild(formats).run()


class _Rebuild:
    """The same graph with types, encodings and rescalings."""

    def __init__(self, formats: Formats) -> None:
        self.formats = formats
        self.new: dict[Op, Op] = {}
        self.views: dict[tuple[Op, Fixed], Op] = {}
        self.ranges: Ranges = {}
        self.watched: dict[Op, float] = {}

    def run(self) -> FixedGraph:
        f = self.formats
        for op in f.shared:
            raw = self._step(op)
            self.ranges[raw] = f.ranges[op]
            if f.guard and is_watched(op):
                self.watched[raw] = f.watched(op)
            home = Fixed(f.home_ring[op], f.home[op])
            self.new[op] = self._rescaled(raw, home, op)
        outputs = {}
        for name, op in f.graph.outputs.items():
            made = self.new.get(op, op)
            settled = f.carried.get(name)
            outputs[name] = made if settled is None else self._rescaled(made, settled, op)
        graph = replace(f.graph, outputs=outputs)
        return FixedGraph(
            graph,
            {**{op: f.ranges[op] for op in walk(graph) if op in f.ranges}, **self.ranges},
            self.watched,
        )

    def _step(self, op: Op) -> Op:
        f = self.formats
        match op:
            case ops.Spline(x=x):
                return self._spline(op, x)
            case ops.ReduceMax(x=x):
                return op.replace((self.view(x, Fixed(f.ring[op], f.home[x])),))
            case ops.MatMul() | ops.Mul() | ops.Square():
                nums = [Fixed(f.ring[op], f.factor(each, op)) for each in op.operands]
            case ops.Gather():
                return op.replace((self.view(op.x, Fixed(f.ring[op], f.raw[op])), op.indices))
            case _:
                nums = [Fixed(f.ring[op], f.raw[op])] * len(op.operands)
        return op.replace(self.view(each, num) for each, num in zip(op.operands, nums, strict=True))

    def _spline(self, op: ops.Spline, x: Op) -> Op:
        f = self.formats
        entry = f.spline_entry(op)
        spline, quad, width = f.splines[op].spline, f.quad(op), f.width(op)
        bits = max(quad.bits, width, f.need(x, entry))
        out = Fixed(f.home_ring[op], f.home[op])
        return ops.Spline(
            self.view(x, Fixed(bits, entry)), spline, num=out, quad=quad, width=width, name=op.name
        )

    def view(self, op: Op, num: Fixed) -> Op:
        """``op`` in the format that a reader asks for."""
        if (op, num) not in self.views:
            if isinstance(op, ops.Input) and op.carried:
                settled = self.formats.settled(op.name)
                self.views[op, settled] = self._encoded(op, settled)
                self.views[op, num] = self._rescaled(self.views[op, settled], num, op)
            elif self.formats.owner[op] is Owner.SHARED:
                self.views[op, num] = self._rescaled(self.new[op], num, op)
            else:
                self.views[op, num] = self._encoded(op, num)
        return self.views[op, num]

    def _encoded(self, op: Op, num: Fixed) -> Op:
        made = replace(op, num=num) if isinstance(op, ops.Const) else ops.Cast(op, num, name=op.name)
        self.ranges[made] = self.formats.ranges[op]
        return made

    def _rescaled(self, x: Op, num: Fixed, op: Op) -> Op:
        """x, which is ``op``'s value, in ``num``. A scale rises by a factor of 2^k that stands for 1."""
        assert isinstance(x.type.num, Fixed)
        if x.type.num == num:
            return x
        made: Op
        if num.scale > x.type.num.scale:
            up = ops.Const(np.array(1.0), num=Fixed(num.bits, num.scale - x.type.num.scale))
            self.ranges[up] = Range(1.0, 1.0, 1.0)
            made = ops.Mul(self._rescaled(x, x.type.num.with_bits(num.bits), op), up, name=op.name)
        else:
            made = ops.Rescale(x, num, name=op.name)
        self.ranges[made] = self.formats.ranges[op]
        return made


def is_local(old: Fixed, new: Fixed) -> bool:
    """Whether a Rescale costs nothing: the carry between the shares does not reach the new ring."""
    return new.bits <= old.bits - (old.scale - new.scale)
