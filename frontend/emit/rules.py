"""One rule an op: the ONNX node that computes it, from operands that are written already."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from ppc.frontend.emit.clear import clear
from ppc.frontend.emit.writer import Final, Writer, num_of
from ppc.frontend.ir import ops
from ppc.frontend.ir.graph import FLOAT, INT, Op
from ppc.frontend.ops.kinds import TYPES


def _same(kind: str) -> Callable[[Writer, Op], Final]:
    """The ONNX operator of that name, operands as they are."""
    return lambda w, op: (kind, [w.at[each] for each in op.operands], {})


def _joined(kind: str) -> Callable[[Writer, Op], Final]:
    """Operands as the kind of number that the result is."""
    return lambda w, op: (kind, [w.of(each, num_of(op)) for each in op.operands], {})


def _real(kind: str) -> Callable[[Writer, Op], Final]:
    return lambda w, op: (kind, [w.of(each, FLOAT) for each in op.operands], {})


def _compared(kind: str) -> Callable[[Writer, Op], Final]:
    def rule(w: Writer, op: Op) -> Final:
        nums = {each.type.num for each in op.operands}
        num = FLOAT if FLOAT in nums else INT
        return kind, [w.of(each, num) for each in op.operands], {}

    return rule


def _mod(w: Writer, op: ops.Mod) -> Final:
    a, b = w.of(op.a, num_of(op)), w.of(op.b, num_of(op))
    if op.fmod or num_of(op) != FLOAT:
        return "Mod", [a, b], {"fmod": int(op.fmod)}
    whole = w.node("Floor", w.node("Div", a, b))
    return "Sub", [a, w.node("Mul", whole, b)], {}


def _relu(w: Writer, op: ops.Relu) -> Final:
    if op.type.num == FLOAT:
        return "Relu", [w.at[op.x]], {}
    return "Max", [w.at[op.x], w.number(0, INT)], {}


def _clip(w: Writer, op: ops.Clip) -> Final:
    ends = ["" if end is None else w.number(end, num_of(op)) for end in (op.lo, op.hi)]
    return "Clip", [w.at[op.x], *(ends if ends[1] else ends[:1])], {}


def _cast(w: Writer, op: ops.Cast) -> Final:
    return "Cast", [w.at[op.x]], {"to": TYPES[num_of(op)]}


def _where(w: Writer, op: ops.Where) -> Final:
    return "Where", [w.at[op.condition], *(w.of(each, num_of(op)) for each in (op.a, op.b))], {}


def _square(w: Writer, op: ops.Square) -> Final:
    return "Mul", [w.at[op.x], w.at[op.x]], {}


def _gelu(w: Writer, op: ops.Gelu) -> Final:
    x, half, one = w.at[op.x], w.number(0.5), w.number(1.0)
    if op.approx == "tanh":
        cube = w.node("Mul", w.node("Mul", x, x), x)
        inner = w.node("Add", x, w.node("Mul", cube, w.number(0.044715)))
        bent = w.node("Tanh", w.node("Mul", inner, w.number(math.sqrt(2 / math.pi))))
    else:
        bent = w.node("Erf", w.node("Div", x, w.number(math.sqrt(2))))
    return "Mul", [w.node("Mul", x, w.node("Add", bent, one)), half], {}


def _silu(w: Writer, op: ops.Silu) -> Final:
    return "Mul", [w.at[op.x], w.node("Sigmoid", w.at[op.x])], {}


def _softmax(w: Writer, op: ops.Softmax) -> Final:
    return "Softmax", [w.at[op.x]], {"axis": op.axis}


def _layer_norm(w: Writer, op: ops.LayerNorm) -> Final:
    return "LayerNormalization", [w.at[each] for each in op.operands], {"axis": -1, "epsilon": op.eps}


def _rms_norm(w: Writer, op: ops.RMSNorm) -> Final:
    x = w.at[op.x]
    square = w.node("ReduceMean", w.node("Mul", x, x), axes=[-1], keepdims=1)
    root = w.node("Sqrt", w.node("Add", square, w.number(op.eps)))
    return "Mul", [w.node("Div", x, root), w.at[op.gamma]], {}


def _reduce_sum(w: Writer, op: ops.ReduceSum) -> Final:
    return "ReduceSum", [w.at[op.x], w.integers(op.axes)], {"keepdims": int(op.keepdims)}


def _reduce(kind: str) -> Callable[[Writer, Any], Final]:
    return lambda w, op: (kind, [w.at[op.x]], {"axes": list(op.axes), "keepdims": int(op.keepdims)})


def _cumsum(w: Writer, op: ops.CumSum) -> Final:
    modes = {"exclusive": int(op.exclusive), "reverse": int(op.reverse)}
    return "CumSum", [w.at[op.x], w.number(op.axis, INT)], modes


def _gather(w: Writer, op: ops.Gather) -> Final:
    return "Gather", [w.at[op.x], w.at[op.indices]], {"axis": op.axis}


def _one_hot(w: Writer, op: ops.OneHot) -> Final:
    ends = w.node("Concat", *(w.node("Reshape", w.number(v), w.integers((1,))) for v in (0.0, 1.0)), axis=0)
    return "OneHot", [w.at[op.ids], w.number(op.depth, INT), ends], {}


def _reshape(w: Writer, op: ops.Reshape) -> Final:
    return "Reshape", [w.at[op.x], w.integers(op.shape)], {"allowzero": int(0 in op.shape)}


def _transpose(w: Writer, op: ops.Transpose) -> Final:
    return "Transpose", [w.at[op.x]], {"perm": list(op.perm)}


def _broadcast(w: Writer, op: ops.Broadcast) -> Final:
    return "Expand", [w.at[op.x], w.integers(op.shape)], {}


def _slice(w: Writer, op: ops.Slice) -> Final:
    return "Slice", [w.at[op.x], *map(w.integers, (op.starts, op.ends, op.axes, op.steps))], {}


def _concat(w: Writer, op: ops.Concat) -> Final:
    return "Concat", [w.of(each, num_of(op)) for each in op.xs], {"axis": op.axis}


RULES: dict[type[Op], Callable[[Writer, Any], Final]] = {
    **{getattr(ops, kind): _joined(kind) for kind in ("Add", "Sub", "Mul", "Div", "Max", "Min", "MatMul")},
    **{
        getattr(ops, kind): _compared(kind)
        for kind in ("Equal", "Less", "Greater", "LessOrEqual", "GreaterOrEqual")
    },
    **{getattr(ops, kind): _same(kind) for kind in ("And", "Or", "Not", "Neg", "Abs", "Pow")},
    **{
        getattr(ops, kind): _real(kind)
        for kind in ("Sqrt", "Exp", "Erf", "Tanh", "Sigmoid", "Reciprocal", "Floor", "IsNaN")
    },
    ops.Mod: _mod,
    ops.Relu: _relu,
    ops.Clip: _clip,
    ops.Cast: _cast,
    ops.Where: _where,
    ops.Square: _square,
    ops.Gelu: _gelu,
    ops.Silu: _silu,
    ops.Softmax: _softmax,
    ops.LayerNorm: _layer_norm,
    ops.RMSNorm: _rms_norm,
    ops.ReduceSum: _reduce_sum,
    ops.ReduceMean: _reduce("ReduceMean"),
    ops.ReduceMax: _reduce("ReduceMax"),
    ops.CumSum: _cumsum,
    ops.Gather: _gather,
    ops.OneHot: _one_hot,
    ops.Reshape: _reshape,
    ops.Transpose: _transpose,
    ops.Broadcast: _broadcast,
    ops.Slice: _slice,
    ops.Concat: _concat,
    ops.Clear: clear,
}
"""The rest of the IR is what two parties compute with: Spline, Rescale."""
