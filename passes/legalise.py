"""Selections and extremes of shared values in sums, products and ReLUs, which is what two parties know.

    where(c, a, b)     -> b + c·(a − b), a·c + b·(1 − c) where a or b is not shared    c known to one party
    max(a, b)          -> b + relu(a − b)             min(a, b) -> a − relu(a − b)
    x[i]               -> onehot(i) @ x               i the client's, or secret; also in a table of more or
                                                      fewer axes
    x[9:2:-1]          -> x[9, 8, 7, …]
    cumsum x           -> x @ a triangle of ones
    max over axes      -> over the last one, the axes moved there

What one party knows alone is left to it.
"""

from __future__ import annotations

import math

import numpy as np

from ppc.frontend.ir import ops
from ppc.frontend.ir.graph import FLOAT, Graph, Op
from ppc.frontend.ir.ops import Const
from ppc.passes.fold_constants import settled
from ppc.passes.owners import Owners
from ppc.passes.rewrite import Refuse, Rewritten, Uses, apply_all


def legalise(graph: Graph) -> Rewritten:
    """The graph with every shared selection and extreme in operators that protocols compute."""
    owners = Owners()

    def where(op: Op, uses: Uses) -> Op | None:
        if not isinstance(op, ops.Where) or not owners.shared(op):
            return None
        if owners.shared(op.condition):
            raise Refuse("the condition is known to neither side")
        kept = settled(ops.Cast(op.condition, FLOAT))
        if owners.shared(op.a) and owners.shared(op.b):
            return _shaped(ops.Add(op.b, ops.Mul(ops.Sub(op.a, op.b), kept)), op)
        if any(isinstance(each, Const) and not np.isfinite(each.value).all() for each in (op.a, op.b)):
            raise Refuse("one of its values is infinite")
        rest = settled(ops.Sub(Const(np.array(1.0)), kept))
        parts = [settled(ops.Mul(x, c)) for x, c in ((op.a, kept), (op.b, rest)) if not _is_zero(x)]
        return _shaped(parts[0] if len(parts) == 1 else ops.Add(parts[0], parts[1]), op)

    def extreme(op: Op, uses: Uses) -> Op | None:
        match op:
            case ops.Max(a=a, b=b) if owners.shared(op):
                return _shaped(ops.Add(b, ops.Relu(ops.Sub(a, b))), op)
            case ops.Min(a=a, b=b) if owners.shared(op):
                return _shaped(ops.Sub(a, ops.Relu(ops.Sub(a, b))), op)
            case ops.ReduceMax(x=x, axes=axes) if owners.shared(op) and axes != (x.type.rank - 1,):
                return _last_axis_maximum(op)
        return None

    def picked(op: Op, uses: Uses) -> Op | None:
        match op:
            case ops.Gather(indices=Const(secret=False)):
                return None
            case ops.Gather(x=Const(value=value), axis=0) if value.ndim == 2 and op.indices.type.rank:
                return None  # an embedding
            case ops.Gather(indices=indices) if owners.shared(op) and not owners.shared(indices):
                return _selected(op)
            case ops.Slice(x=x) if owners.shared(op) and any(step < 0 for step in op.steps):
                for axis, places in enumerate(op.places()):
                    if places != range(x.type.shape[axis]):
                        x = ops.Gather(x, Const(np.array(places)), axis)
                return x
        return None

    def running_sum(op: Op, uses: Uses) -> Op | None:
        if not isinstance(op, ops.CumSum) or not owners.shared(op):
            return None
        n, axis, rank = op.type.shape[op.axis], op.axis % op.type.rank, op.type.rank
        ones = np.triu(np.ones((n, n), np.float32), 1 if op.exclusive else 0)
        swap = list(range(rank))
        swap[axis], swap[-1] = rank - 1, axis
        rows = ops.Reshape(ops.Transpose(op.x, tuple(swap)), (op.type.size // n, n))
        sums = ops.MatMul(rows, Const(ones.T.copy() if op.reverse else ones))
        turned = tuple(op.type.shape[i] for i in swap)
        return ops.Transpose(ops.Reshape(sums, turned), tuple(swap))

    return apply_all((where, extreme, picked, running_sum), graph)


def _is_zero(op: Op) -> bool:
    return isinstance(op, Const) and not op.value.any()


def _shaped(new: Op, op: Op) -> Op:
    return new if new.type.shape == op.type.shape else ops.Broadcast(new, op.type.shape)


def _last_axis_maximum(op: ops.ReduceMax) -> Op:
    x = op.x
    gone = sorted(axis % x.type.rank for axis in op.axes)
    rest = [i for i in range(x.type.rank) if i not in gone]
    kept = tuple(x.type.shape[i] for i in rest)
    rows = ops.Reshape(ops.Transpose(x, (*rest, *gone)), (*kept, x.type.size // max(1, math.prod(kept))))
    return ops.Reshape(ops.ReduceMax(rows, (len(kept),), False, op.steadies), op.type.shape)


def _selected(op: ops.Gather) -> Op:
    """onehot(i) @ x, with the axis looked up in front and the others laid flat."""
    x, indices, axis = op.x, op.indices, op.axis % op.x.type.rank
    others = [i for i in range(x.type.rank) if i != axis]
    n, width = x.type.shape[axis], x.type.size // x.type.shape[axis]
    table = settled(ops.Reshape(settled(ops.Transpose(x, (axis, *others))), (n, width)))
    count = indices.type.size
    places = settled(ops.OneHot(settled(ops.Reshape(indices, (count,))), n))
    rows = ops.MatMul(places, table)
    inner = tuple(x.type.shape[i] for i in others)
    apart = ops.Reshape(rows, (*indices.type.shape, *inner))
    rank = indices.type.rank
    # the indices' axes go where the axis was
    perm = (*range(rank, rank + axis), *range(rank), *range(rank + axis, rank + len(inner)))
    return ops.Transpose(apart, perm)
