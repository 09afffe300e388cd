"""Masks of −10⁴, −3·10³⁸ or −∞, cut to what the function above cannot tell from them.

A masked value must end where its function does not see it. With s in [lo, hi], and further terms in, adding

    m ≤ −(hi − lo) − T    puts it below the row's maximum by more than T, from where a softmax's exp is 0
    m < −hi               puts it below 0, where a ReLU is 0, exactly
    m < −(hi − lo), −hi   puts it below all that a maximum is taken of, and below 0

so that the mask may be cut there. Who owns the mask cuts it himself; where(kept, s, −∞) becomes a sum first.
A bound as deep as a mask that no value reaches, of max(s, −10⁴), goes.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from ppc.frontend.ir import ops
from ppc.frontend.ir.graph import Graph, Op, walk, walk_from
from ppc.passes import functions
from ppc.passes.fold_constants import settled
from ppc.passes.masked import DEEP, Mask, Masked
from ppc.passes.ranges import Range, Ranges

_BEYOND = 17 / 16
"""How much further than any value a masked one is put, for a maximum."""


@dataclass(frozen=True)
class _Layer:
    """One step from the content outwards: ``op`` is a sum with a mask or with a ``bias``, or a Where."""

    op: Op
    mask: Mask | None
    bias: Op | None = None


@dataclass(frozen=True)
class _Under:
    """What a function reads: content, what lies above it, and the floor of the masks."""

    content: Op
    layers: list[_Layer]
    floor: float


def clamp_mask(graph: Graph, ranges: Ranges, fit: int = 0) -> Graph:
    """softmax, ReLU and maximum of shared values under masks that are not shared: these bounded below.

    ``ranges`` are of this graph; ``fit`` says how often the usual error of exp will be halved, which makes
    it reach further down.
    """
    masked = Masked()
    under = _under(graph, ranges, fit, masked)
    new: dict[Op, Op] = {}
    for op in walk(graph):
        new[op] = op.replace(new[each] for each in op.operands)
        if op in under:
            new[op] = op.replace((_rebuilt(new, under[op], masked),))
        elif masked.owners.shared(op) and _is_idle(op, ranges):
            new[op] = new[op.operands[0]]
    return graph.mapped(new)


@dataclass(frozen=True)
class Cut:
    """Where a mask is cut that reaches further down."""

    floor: float

    def __str__(self) -> str:
        return f"masks reach below {self.floor:g} and are cut there, which acts the same"


def cuts(graph: Graph, ranges: Ranges, fit: int = 0) -> list[Cut]:
    """What `clamp_mask` cuts."""
    return [
        Cut(each.floor)
        for each in _under(graph, ranges, fit, Masked()).values()
        for layer in each.layers
        if layer.mask is not None and _lowest(layer.mask, ranges) < each.floor
    ]


def _under(graph: Graph, ranges: Ranges, fit: int, masked: Masked) -> dict[Op, _Under]:
    """Of each function under masks what it reads."""
    floors: dict[type[Op], Callable[[Range], float]] = {
        ops.Softmax: lambda total: floor_of(total, fit),
        ops.Relu: relu_floor_of,
        ops.ReduceMax: maximum_floor_of,
    }
    found: dict[Op, _Under] = {}
    for op in walk(graph):
        if type(op) in floors and masked.owners.shared(op):
            content, layers = _peeled(op.operands[0], masked)
            if not layers:
                continue  # and nobody asks for ranges
            floor = floors[type(op)](_without_masks(content, layers, ranges))
            if all(_deep_enough(layer, floor) for layer in layers):
                found[op] = _Under(content, layers, floor)
    return found


def floor_of(scores: Range, fit: int = 0) -> float:
    """The mildest mask that still puts any score below exp's reach."""
    reach = functions.exp_reach(functions.EXP_ERROR * 2.0**-fit)
    return -float(math.ceil(scores.hi - scores.lo - reach))


def relu_floor_of(scores: Range) -> float:
    """The mildest whole mask that still puts any score below 0."""
    return -float(math.floor(max(scores.hi, 0.0)) + 1)


def maximum_floor_of(values: Range) -> float:
    """A mask that puts any value below all others, and below 0 for a row where all is masked."""
    return -_BEYOND * (values.hi - min(values.lo, 0.0)) or -1.0


def _peeled(x: Op, masked: Masked) -> tuple[Op, list[_Layer]]:
    """The content under the innermost mask, and what lies above it from the inside out."""
    layers: list[_Layer] = []
    while True:
        match x:
            case _ if (layer := masked.layer(x)) is not None:
                layers.append(_Layer(x, layer.masks[0]))
                x = layer.content
            case ops.Add(a=s, b=ops.Const() as bias) | ops.Add(a=ops.Const() as bias, b=s):
                layers.append(_Layer(x, None, bias))
                x = s
            case _:
                break
    while layers and layers[-1].mask is None:
        x = layers.pop().op
    return x, layers[::-1]


def _without_masks(content: Op, layers: list[_Layer], ranges: Ranges) -> Range:
    """Where the value lies in places that nothing masks."""
    lo, hi = ranges[content].lo, ranges[content].hi
    for layer in layers:
        if layer.bias is not None:
            lo += min(0.0, ranges[layer.bias].lo)
            hi += max(0.0, ranges[layer.bias].hi)
        elif layer.mask is not None and layer.mask.kept is None:
            hi += max(0.0, ranges[layer.mask.term].hi)
    return Range(lo, hi, 0.0)


def _lowest(mask: Mask, ranges: Ranges) -> float:
    return ranges[mask.term].lo if mask.kept is None else float(ops.scalar(mask.term) or 0.0)


def _deep_enough(layer: _Layer, floor: float) -> bool:
    if layer.mask is None or layer.mask.kept is None:
        return True
    value = ops.scalar(layer.mask.term)
    return value is not None and value <= floor


def _is_idle(op: Op, ranges: Ranges) -> bool:
    """Whether it bounds a value far below where any lies."""
    match op:
        case ops.Max(a=x, b=ops.Const(value=low)):
            return x.type == op.type and bool(np.max(low) <= min(DEEP, ranges[x].lo))
        case ops.Clip(x=x, lo=lo, hi=None):
            return lo is not None and lo <= min(DEEP, ranges[x].lo)
    return False


def _rebuilt(new: dict[Op, Op], under: _Under, masked: Masked) -> Op:
    x = new[under.content]
    for layer in under.layers:
        mask = layer.mask
        if mask is None:
            assert layer.bias is not None
            term = new[layer.bias]
        elif mask.kept is None:
            term = _cut(mask.term, under.floor, new, masked)
        else:
            zero, low = ops.Const(np.array(0.0)), ops.Const(np.array(under.floor))
            ends = (low, zero) if mask.swapped else (zero, low)
            term = settled(ops.Where(new[mask.kept], *ends))
        x = ops.Add(x, term, name=layer.op.name)
    return x


def _cut(term: Op, floor: float, new: dict[Op, Op], masked: Masked) -> Op:
    """A mask that reaches no further than ``floor``; what one party knows of it is cut."""
    cut = dict(new)
    for root, scale in (masked.roots(term) or {}).items():
        end = floor / scale if scale == 1.0 else _rounded(floor / scale)
        known = ops.Clip(new[root], lo=end) if scale > 0 else ops.Clip(new[root], hi=end)
        cut[root] = settled(known)
        for op in walk_from(term):
            if op not in masked.owners or masked.owners.shared(op):
                cut[op] = op.replace(cut[each] for each in op.operands)
    return cut[term]


def _rounded(end: float) -> float:
    """The next power of two: what is the server's in a factor says no more than its size then."""
    return math.copysign(2.0 ** math.ceil(math.log2(abs(end))), end)
