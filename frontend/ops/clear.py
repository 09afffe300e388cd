"""ONNX operators for what one party knows alone; shares cannot go through them."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from ppc.frontend.ir import ops
from ppc.frontend.ir.graph import BOOL, INT, Num, Op
from ppc.frontend.ops.node import Node, Unsupported, axis_of, integer

Builder = Callable[..., "Op | tuple[Op, ...]"]


def _each(function: str, *, to: Num | None = None, floats: tuple[tuple[str, float], ...] = ()) -> Builder:
    """A function of each element; ``floats`` are its attributes and what they are by default."""

    def build(node: Node, x: Op) -> Op:
        given = tuple(float(node.get(key, default)) for key, default in floats)
        return ops.Clear(function, (x,), x.type.shape, to or x.type.num, floats=given)

    return build


def _bits(function: str) -> Builder:
    def build(node: Node, a: Op, b: Op) -> Op:
        shape = tuple(int(n) for n in np.broadcast_shapes(a.type.shape, b.type.shape))
        ints = (int(node.get("direction", "LEFT") == "LEFT"),) if function == "BitShift" else ()
        return ops.Clear(function, (a, b), shape, INT, ints)

    return build


def _is_inf(node: Node, x: Op) -> Op:
    signs = (int(node.get("detect_negative", 1)), int(node.get("detect_positive", 1)))
    return ops.Clear("IsInf", (x,), x.type.shape, BOOL, signs)


def _selu(node: Node, x: Op) -> Op:
    alpha, gamma = node.get("alpha", 1.67326319217681884765625), node.get("gamma", 1.05070102214813232421875)
    return ops.Clear("Elu", (x,), x.type.shape, floats=(float(alpha), float(gamma)))


def _elu(node: Node, x: Op) -> Op:
    return ops.Clear("Elu", (x,), x.type.shape, floats=(float(node.get("alpha", 1.0)), 1.0))


def _log_softmax(node: Node, x: Op) -> Op:
    axis = axis_of(x, node.get("axis", -1 if node.opset >= 13 else 1))
    if node.opset < 13 and axis != x.type.rank - 1:
        raise Unsupported("flattens its axes, as it did before opset 13; export with opset 13 or later")
    return ops.Clear("LogSoftmax", (x,), x.type.shape, ints=(axis, 1))


def over_axes(function: str) -> Callable[[Op, tuple[int, ...], bool], Op]:
    """A reduction, for ``structure.reduction``."""

    def make(x: Op, axes: tuple[int, ...], keepdims: bool) -> Op:
        shape = ops.ReduceMax(x, axes, keepdims).type.shape
        return ops.Clear(function, (x,), shape, x.type.num, (*axes, int(keepdims)))

    return make


def log_of_sum(x: Op, axes: tuple[int, ...], keepdims: bool) -> Op:
    total = ops.ReduceSum(x, axes, keepdims)
    return ops.Clear("Log", (total,), total.type.shape)


def _arg(least: bool) -> Builder:
    def build(node: Node, x: Op) -> Op:
        axis, keep = axis_of(x, node.get("axis", 0)), bool(node.get("keepdims", 1))
        shape = ops.ReduceMax(x, (axis,), keep).type.shape
        ints = (axis, int(keep), int(node.get("select_last_index", 0)), int(least))
        return ops.Clear("ArgExtreme", (x,), shape, INT, ints)

    return build


def _top(node: Node, x: Op, k: Op) -> tuple[Op, ...]:
    axis, count = axis_of(x, node.get("axis", -1)), integer(k, "how many are sought")
    if not 0 < count <= x.type.shape[axis]:
        raise Unsupported(f"seeks {count} of {x.type.shape[axis]} elements")
    shape = (*x.type.shape[:axis], count, *x.type.shape[axis + 1 :])
    kinds: tuple[tuple[int, Num], ...] = ((0, x.type.num), (1, INT))
    largest = int(node.get("largest", 1))
    return tuple(ops.Clear("Top", (x,), shape, num, (axis, count, largest, places)) for places, num in kinds)


TABLE: dict[str, Builder] = {
    **{name: _each(name) for name in ("Ceil", "Round", "Log", "Sin", "Cos", "Tan", "Asin", "Acos", "Atan")},
    **{
        name: _each(name)
        for name in ("Sinh", "Cosh", "Asinh", "Acosh", "Atanh", "Softplus", "Softsign", "Mish")
    },
    "Elu": _elu,
    "Selu": _selu,
    "Celu": _each("Celu", floats=(("alpha", 1.0),)),
    "ThresholdedRelu": _each("ThresholdedRelu", floats=(("alpha", 1.0),)),
    "Shrink": _each("Shrink", floats=(("bias", 0.0), ("lambd", 0.5))),
    "IsInf": _is_inf,
    "LogSoftmax": _log_softmax,
    "ArgMax": _arg(least=False),
    "ArgMin": _arg(least=True),
    "TopK": _top,
    "BitwiseAnd": _bits("BitAnd"),
    "BitwiseOr": _bits("BitOr"),
    "BitwiseXor": _bits("BitXor"),
    "BitwiseNot": _each("BitNot", to=INT),
    "BitShift": _bits("BitShift"),
}
