"""Additive attention masks of −10⁴ or −3·10³⁸, cut to what softmax cannot tell from them.

A score that is masked must end below the row's maximum by more than T, from where exp is 0 on the spline's
own account. With scores s in [lo, hi], adding m ≤ −(hi − lo) − T does that. The client cuts its mask itself.
"""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from ppc.frontend.ir import ops
from ppc.frontend.ir.graph import Graph, Op, Owner, walk
from ppc.passes import functions
from ppc.passes.calibrate import Range, Ranges
from ppc.passes.own import owners


def clamp_mask(graph: Graph, ranges: Ranges) -> Graph:
    """softmax(s + m), or softmax(where(m, s, −∞)), with m the client's: m bounded below.

    ``ranges`` are of this graph.
    """
    owner = owners(graph)
    new: dict[Op, Op] = {}
    for op in walk(graph):
        match op:
            case ops.Softmax(x=ops.Add(a=s, b=m)) if _mixed(owner, s, m):
                new[op] = op.replace((_cut(new, op.x, s, new[m], ranges[s]),))
            case ops.Softmax(x=ops.Add(a=m, b=s)) if _mixed(owner, s, m):
                new[op] = op.replace((_cut(new, op.x, s, new[m], ranges[s]),))
            case ops.Softmax(x=ops.Where(condition=kept, a=s, b=c)) if _masks(owner, s, kept, c, ranges):
                m = ops.Where(new[kept], ops.Const(np.array(0.0)), c)
                new[op] = op.replace((_cut(new, op.x, s, m, ranges[s]),))
            case _:
                new[op] = op.replace(new[each] for each in op.operands)
    return replace(graph, outputs={name: new[op] for name, op in graph.outputs.items()})


def floor_of(scores: Range) -> float:
    """The mildest mask that still puts any score below exp's reach."""
    return -float(math.ceil(scores.hi - scores.lo - functions.exp().knots[0]))


def _mixed(owner: dict[Op, Owner], s: Op, m: Op) -> bool:
    return owner[s] is Owner.SHARED and owner[m] is Owner.CLIENT


def _masks(owner: dict[Op, Owner], s: Op, kept: Op, c: Op, ranges: Ranges) -> bool:
    low = ops.scalar(c)
    return _mixed(owner, s, kept) and low is not None and low <= floor_of(ranges[s])


def _cut(new: dict[Op, Op], masked: Op, s: Op, m: Op, scores: Range) -> Op:
    return ops.Add(new[s], ops.Clip(m, lo=floor_of(scores)), name=masked.name)
