"""The client's own part of a graph, as records that its machine runs without ONNX."""

from __future__ import annotations

import numpy as np

from ppc.frontend.ir import ops
from ppc.frontend.ir.graph import BOOL, INT, Input, Op
from ppc.runtime.local import LocalOp

# IR ops that are one function of the runtime's table, no attributes.
PLAIN: dict[type[Op], str] = {
    ops.Add: "Add", ops.Sub: "Sub", ops.Mul: "Mul", ops.Div: "Div", ops.Pow: "Pow", ops.Max: "Max",
    ops.Min: "Min", ops.Equal: "Equal", ops.Less: "Less", ops.Greater: "Greater",
    ops.LessOrEqual: "LessOrEqual", ops.GreaterOrEqual: "GreaterOrEqual", ops.And: "And", ops.Or: "Or",
    ops.Neg: "Neg", ops.Abs: "Abs", ops.Not: "Not", ops.IsNaN: "IsNaN", ops.Floor: "Floor",
    ops.Square: "Square", ops.Where: "Where", ops.Sqrt: "Sqrt", ops.Exp: "Exp",
    ops.Reciprocal: "Reciprocal", ops.MatMul: "MatMul", ops.Mod: "Mod",
}  # fmt: skip

REDUCTIONS: dict[type[Op], str] = {ops.ReduceSum: "Sum", ops.ReduceMean: "Mean", ops.ReduceMax: "Maximum"}

MAX_PUBLIC = 4096
"""Elements of a public constant that the client's part may hold: indices and masks, not tables."""


class NotLocal(ValueError):
    """An op that the client's table has no function for."""


def local_op(op: Op, args: tuple[int, ...]) -> LocalOp:
    """The record of ``op`` whose operands are the local values ``args``."""
    if (name := PLAIN.get(type(op))) is not None:
        return LocalOp(op=name, args=args)
    if (name := REDUCTIONS.get(type(op))) is not None:
        assert isinstance(op, ops.Reduction)
        axes = tuple(a % op.x.type.rank for a in op.axes)
        return LocalOp(op=name, args=args, ints=(*axes, int(op.keepdims)))
    match op:
        case Input():
            return LocalOp(op="Input", text=op.name)
        case ops.Const() if op.value.size <= MAX_PUBLIC:
            values = tuple(float(v) for v in np.asarray(op.value, np.float64).ravel())
            return LocalOp(op="Const", shape=op.type.shape, floats=values)
        case ops.Cast():
            if op.to == INT:
                return LocalOp(op="Truncate", args=args)
            return LocalOp(op="Boolean" if op.to == BOOL else "Reshape", args=args, shape=op.type.shape)
        case ops.Clip():
            lo = -np.inf if op.lo is None else op.lo
            hi = np.inf if op.hi is None else op.hi
            return LocalOp(op="Clip", args=args, floats=(float(lo), float(hi)))
        case ops.OneHot():
            return LocalOp(op="OneHot", args=args, ints=(op.depth,), text=op.name)
        case ops.Gather():
            return LocalOp(op="Gather", args=args, ints=(op.axis % op.x.type.rank,))
        case ops.CumSum() if not op.exclusive and not op.reverse:
            return LocalOp(op="CumSum", args=args, ints=(op.axis % op.x.type.rank,))
        case ops.Reshape():
            return LocalOp(op="Reshape", args=args, shape=op.type.shape)
        case ops.Transpose():
            return LocalOp(op="Transpose", args=args, ints=op.perm)
        case ops.Broadcast():
            return LocalOp(op="Broadcast", args=args, shape=op.type.shape)
        case ops.Concat():
            return LocalOp(op="Concat", args=args, ints=(op.axis % op.type.rank,))
        case ops.Slice():
            return LocalOp(op="Slice", args=args, ints=tuple(n for cut in cuts(op) for n in cut))
    raise NotLocal(
        f"{type(op).__name__} {op.name or '(unnamed)'} belongs to the client, who has no function for it"
    )


def cuts(op: ops.Slice) -> tuple[tuple[int, int, int], ...]:
    """(start, stop, step) for every axis."""
    by_axis = op.indices()
    whole = slice(None)
    return tuple(by_axis.get(i, whole).indices(n) for i, n in enumerate(op.x.type.shape))
