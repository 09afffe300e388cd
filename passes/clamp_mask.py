"""Attention masks of −10⁴, −3·10³⁸ or −∞, cut to what the function above cannot tell from them.

A masked score must end where its function is 0. With s in [lo, hi], and further terms in, adding

    m ≤ −(hi − lo) − T    puts it below the row's maximum by more than T, from where a softmax's exp is 0
    m < −hi               puts it below 0, where a ReLU is 0, exactly

so that the mask may be cut there. Who owns the mask cuts it himself; where(kept, s, −∞) becomes a sum first.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from ppc.frontend.ir import ops
from ppc.frontend.ir.graph import Graph, Op, Owner, walk
from ppc.passes import functions
from ppc.passes.calibrate import Range, Ranges
from ppc.passes.fold_constants import folded
from ppc.passes.owners import owners

DEEP = -1e3
"""A constant that goes below is a mask and no bias."""


@dataclass(frozen=True)
class _Layer:
    """One step from the scores outwards: ``op`` is a sum with ``other``, or a Where on it."""

    op: Op
    other: Op
    mask: bool


def clamp_mask(graph: Graph, ranges: Ranges, fit: int = 0) -> Graph:
    """softmax and ReLU of shared scores under masks that are not shared: these bounded below.

    ``ranges`` are of this graph; ``fit`` says how often the usual error of exp will be halved, which makes
    it reach further down.
    """
    masked = _masked(graph, ranges, fit)
    new: dict[Op, Op] = {}
    for op in walk(graph):
        new[op] = op.replace(new[each] for each in op.operands)
        if op in masked:
            new[op] = op.replace((_rebuilt(new, *masked[op]),))
    return graph.mapped(new)


@dataclass(frozen=True)
class Cut:
    """Where a mask is cut that reaches further down."""

    floor: float

    def __str__(self) -> str:
        return f"attention masks reach below {self.floor:g} and are cut there, which acts the same"


def cuts(graph: Graph, ranges: Ranges, fit: int = 0) -> list[Cut]:
    """What `clamp_mask` cuts."""
    return [
        Cut(floor)
        for _, layers, floor in _masked(graph, ranges, fit).values()
        for layer in layers
        if layer.mask and ranges[layer.other].lo < floor
    ]


def _masked(graph: Graph, ranges: Ranges, fit: int) -> dict[Op, tuple[Op, list[_Layer], float]]:
    """Of each function under masks: the scores, what lies above them, and the floor of the masks."""
    owner = owners(graph)
    found: dict[Op, tuple[Op, list[_Layer], float]] = {}
    for op in walk(graph):
        if isinstance(op, ops.Softmax | ops.Relu) and owner[op] is Owner.SHARED:
            scores, layers = _peeled(op.x, owner, ranges)
            total = _without_masks(scores, layers, ranges)
            floor = floor_of(total, fit) if isinstance(op, ops.Softmax) else relu_floor_of(total)
            if layers and all(_deep_enough(layer, floor) for layer in layers):
                found[op] = scores, layers, floor
    return found


def floor_of(scores: Range, fit: int = 0) -> float:
    """The mildest mask that still puts any score below exp's reach."""
    reach = functions.exp_reach(functions.EXP_ERROR * 2.0**-fit)
    return -float(math.ceil(scores.hi - scores.lo - reach))


def relu_floor_of(scores: Range) -> float:
    """The mildest whole mask that still puts any score below 0."""
    return -float(math.floor(max(scores.hi, 0.0)) + 1)


def _peeled(x: Op, owner: dict[Op, Owner], ranges: Ranges) -> tuple[Op, list[_Layer]]:
    """The scores under the innermost mask, and what lies above them from the inside out."""
    layers: list[_Layer] = []
    while (layer := _layer(x, owner, ranges)) is not None:
        layers.append(layer)
        x = next(each for each in layer.op.operands if owner[each] is Owner.SHARED)
    while layers and not layers[-1].mask:
        x = layers.pop().op
    return x, layers[::-1]


def _layer(x: Op, owner: dict[Op, Owner], ranges: Ranges) -> _Layer | None:
    shared = [each for each in x.operands if owner[each] is Owner.SHARED]
    if len(shared) != 1:
        return None
    match x:
        case ops.Add(a=a, b=b):
            other = b if a is shared[0] else a
            return _Layer(x, other, not isinstance(other, ops.Const) or ranges[other].lo < DEEP)
        case ops.Where(condition=kept, a=a, b=b) if kept is not shared[0]:
            other = b if a is shared[0] else a
            return _Layer(x, other, True) if ops.scalar(other) is not None else None
    return None


def _without_masks(scores: Op, layers: list[_Layer], ranges: Ranges) -> Range:
    """Where the sum lies in places that nothing masks."""
    lo, hi = ranges[scores].lo, ranges[scores].hi
    for layer in layers:
        if isinstance(layer.op, ops.Add):
            hi += max(0.0, ranges[layer.other].hi)
            lo += 0.0 if layer.mask else min(0.0, ranges[layer.other].lo)
    return Range(lo, hi, 0.0)


def _deep_enough(layer: _Layer, floor: float) -> bool:
    if not isinstance(layer.op, ops.Where):
        return True
    value = ops.scalar(layer.other)
    return value is not None and value <= floor


def _rebuilt(new: dict[Op, Op], scores: Op, layers: list[_Layer], floor: float) -> Op:
    x = new[scores]
    for layer in layers:
        term = new[layer.other]
        match layer.op:
            case ops.Where(condition=kept, b=b):
                zero, low = ops.Const(np.array(0.0)), ops.Const(np.array(floor))
                term = (
                    ops.Where(new[kept], zero, low) if b is layer.other else ops.Where(new[kept], low, zero)
                )
            case _ if layer.mask:
                term = ops.Clip(term, lo=floor)
        known = all(isinstance(each, ops.Const) for each in term.operands)
        x = ops.Add(x, folded(term) if known and term.operands else term, name=layer.op.name)
    return x
