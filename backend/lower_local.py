"""The client's own part of a graph, as records that its machine runs without ONNX."""

from __future__ import annotations

import numpy as np

from ppc.frontend.ir import ops
from ppc.frontend.ir.graph import BOOL, INT, Input, Op
from ppc.runtime.plan.local import PACKINGS, LocalOp

# IR ops that are one function of the runtime's table, no attributes.
PLAIN: dict[type[Op], str] = {
    ops.Add: "Add", ops.Sub: "Sub", ops.Mul: "Mul", ops.Div: "Div", ops.Pow: "Pow", ops.Max: "Max",
    ops.Min: "Min", ops.Equal: "Equal", ops.Less: "Less", ops.Greater: "Greater",
    ops.LessOrEqual: "LessOrEqual", ops.GreaterOrEqual: "GreaterOrEqual", ops.And: "And", ops.Or: "Or",
    ops.Neg: "Neg", ops.Abs: "Abs", ops.Not: "Not", ops.IsNaN: "IsNaN", ops.Floor: "Floor",
    ops.Square: "Square", ops.Where: "Where", ops.Sqrt: "Sqrt", ops.Exp: "Exp",
    ops.Reciprocal: "Reciprocal", ops.MatMul: "MatMul", ops.Erf: "Erf", ops.Tanh: "Tanh",
    ops.Sigmoid: "Sigmoid", ops.Relu: "Relu", ops.Silu: "Silu",
}  # fmt: skip

REDUCTIONS: dict[type[Op], str] = {ops.ReduceSum: "Sum", ops.ReduceMean: "Mean", ops.ReduceMax: "Maximum"}

MAX_WRITTEN = 64
"""Elements up to which a constant is written as numbers; larger ones are packed."""

MAX_PUBLIC = 2**20
"""Elements of a public constant that the client's part may hold: masks and positions, not tables."""


class NotLocal(ValueError):
    """An op that the client's table has no function for."""


def local_op(op: Op, args: tuple[int, ...]) -> LocalOp:
    """The record of ``op`` whose operands are the local values ``args``."""
    if (name := PLAIN.get(type(op))) is not None and not _of_integers(op):
        return LocalOp(op=name, args=args)
    if (name := REDUCTIONS.get(type(op))) is not None:
        assert isinstance(op, ops.Reduction)
        axes = tuple(a % op.x.type.rank for a in op.axes)
        return LocalOp(op=name, args=args, ints=(*axes, int(op.keepdims)))
    match op:
        case Input():
            return LocalOp(op="Input", text=op.name)
        case ops.Const() if not op.secret and op.value.size <= MAX_PUBLIC:
            return _constant(op)
        case ops.Div():
            return LocalOp(op="Quotient", args=args)
        case ops.Mod():
            return LocalOp(op="Remainder" if op.fmod else "Mod", args=args)
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
        case ops.CumSum():
            ints = (op.axis % op.x.type.rank, int(op.exclusive), int(op.reverse))
            return LocalOp(op="CumSum", args=args, ints=ints)
        case ops.Gelu():
            return LocalOp(op="Gelu", args=args, text=op.approx)
        case ops.Softmax():
            return LocalOp(op="Softmax", args=args, ints=(op.axis % op.x.type.rank,))
        case ops.LayerNorm() | ops.RMSNorm():
            centred = int(isinstance(op, ops.LayerNorm))
            return LocalOp(op="Norm", args=args, ints=(centred,), floats=(op.eps,))
        case ops.Clear():
            return LocalOp(
                op=op.function,
                args=args,
                ints=op.ints,
                floats=op.floats,
                shape=op.shape,
                text=op.text,
                data=op.data,
            )
        case ops.Reshape():
            return LocalOp(op="Reshape", args=args, shape=op.type.shape)
        case ops.Transpose():
            return LocalOp(op="Transpose", args=args, ints=op.perm)
        case ops.Broadcast():
            return LocalOp(op="Broadcast", args=args, shape=op.type.shape)
        case ops.Concat():
            return LocalOp(op="Concat", args=args, ints=(op.axis % op.type.rank,))
        case ops.Slice():
            return LocalOp(op="Slice", args=args, ints=_backwards_too(op))
    raise NotLocal(
        f"{type(op).__name__} {op.name or '(unnamed)'} belongs to the client, who has no function for it"
    )


def _of_integers(op: Op) -> bool:
    """Integers divide toward zero."""
    return isinstance(op, ops.Div) and op.type.num == INT


def _constant(op: ops.Const) -> LocalOp:
    value, shape = op.value, op.type.shape
    if value.size <= MAX_WRITTEN:
        return LocalOp(op="Const", shape=shape, floats=tuple(float(v) for v in value.ravel()))
    if value.dtype.kind == "b":
        return LocalOp(op="Packed", shape=shape, text="bits", data=np.packbits(value.ravel()).tobytes())
    kinds = ("f4", "f8") if value.dtype.kind == "f" else ("i1", "i2", "i4", "i8")
    kind = next(each for each in kinds if np.array_equal(value.astype(each), value, equal_nan=each[0] == "f"))
    return LocalOp(op="Packed", shape=shape, text=kind, data=value.astype(PACKINGS[kind]).tobytes())


def _backwards_too(op: ops.Slice) -> tuple[int, ...]:
    """(start, stop, step) for every axis; a stop before the first element is said from the end."""
    flat: list[int] = []
    for (start, stop, step), n in zip(cuts(op), op.x.type.shape, strict=True):
        flat += (start, -n - 1 if stop < 0 else stop, step)
    return tuple(flat)


def cuts(op: ops.Slice) -> tuple[tuple[int, int, int], ...]:
    """(start, stop, step) for every axis."""
    by_axis = op.indices()
    whole = slice(None)
    return tuple(by_axis.get(i, whole).indices(n) for i, n in enumerate(op.x.type.shape))
