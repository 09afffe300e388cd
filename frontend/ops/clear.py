"""ONNX operators for what one party knows alone; shares cannot go through them."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from ppc.frontend.ir import ops
from ppc.frontend.ir.graph import BOOL, INT, Num, Op
from ppc.frontend.ops.node import Node, Unsupported, axis_of, integer
from ppc.frontend.ops.structure import over_rows
from ppc.runtime.base import function as f

Builder = Callable[..., "Op | tuple[Op, ...]"]


def _plain(name: str, to: Num | None = None) -> Builder:
    """A function of each element."""
    return lambda node, x: ops.Clear(f.Plain(name), (x,), x.type.shape, to or x.type.num)


def _with(function: Callable[..., f.AnyFunction], **floats: float) -> Builder:
    """One with attributes, and what these are by default."""

    def build(node: Node, x: Op) -> Op:
        given = {key: float(node.get(key, default)) for key, default in floats.items()}
        return ops.Clear(function(**given), (x,), x.type.shape, x.type.num)

    return build


def _bits(name: str) -> Builder:
    def build(node: Node, a: Op, b: Op) -> Op:
        shape = tuple(int(n) for n in np.broadcast_shapes(a.type.shape, b.type.shape))
        left = node.get("direction", "LEFT") == "LEFT"
        return ops.Clear(f.BitShift(left) if name == "BitShift" else f.Plain(name), (a, b), shape, INT)

    return build


def _is_inf(node: Node, x: Op) -> Op:
    negative, positive = (bool(node.get(f"detect_{sign}", 1)) for sign in ("negative", "positive"))
    return ops.Clear(f.IsInf(negative, positive), (x,), x.type.shape, BOOL)


def _log_softmax(node: Node, x: Op) -> Op:
    return over_rows(node, x, lambda rows, axis: ops.Clear(f.LogSoftmax(axis), (rows,), rows.type.shape))


def over_axes(function: type[f.Product | f.LogSumExp]) -> Callable[[Op, tuple[int, ...], bool], Op]:
    """A reduction, for ``structure.reduction``."""

    def make(x: Op, axes: tuple[int, ...], keepdims: bool) -> Op:
        shape = ops.ReduceMax(x, axes, keepdims).type.shape
        return ops.Clear(function(axes, keepdims), (x,), shape, x.type.num)

    return make


def log_of_sum(x: Op, axes: tuple[int, ...], keepdims: bool) -> Op:
    total = ops.ReduceSum(x, axes, keepdims)
    return ops.Clear(f.Plain("Log"), (total,), total.type.shape)


def _arg(least: bool) -> Builder:
    def build(node: Node, x: Op) -> Op:
        axis, keep = axis_of(x, node.get("axis", 0)), bool(node.get("keepdims", 1))
        shape = ops.ReduceMax(x, (axis,), keep).type.shape
        last = bool(node.get("select_last_index", 0))
        return ops.Clear(f.ArgExtreme(axis, keep, last, least), (x,), shape, INT)

    return build


def _top(node: Node, x: Op, k: Op) -> tuple[Op, ...]:
    axis, count = axis_of(x, node.get("axis", -1)), integer(k, "how many are sought")
    if not 0 < count <= x.type.shape[axis]:
        raise Unsupported(f"seeks {count} of {x.type.shape[axis]} elements")
    shape = (*x.type.shape[:axis], count, *x.type.shape[axis + 1 :])
    kinds: tuple[tuple[bool, Num], ...] = ((False, x.type.num), (True, INT))
    largest = bool(node.get("largest", 1))
    return tuple(ops.Clear(f.Top(axis, count, largest, places), (x,), shape, num) for places, num in kinds)


TABLE: dict[str, Builder] = {
    **{name: _plain(name) for name in ("Ceil", "Round", "Log", "Sin", "Cos", "Tan", "Asin", "Acos", "Atan")},
    **{
        name: _plain(name)
        for name in ("Sinh", "Cosh", "Asinh", "Acosh", "Atanh", "Softplus", "Softsign", "Mish")
    },
    "Elu": _with(f.Elu, alpha=1.0),
    "Selu": _with(f.Elu, alpha=1.67326319217681884765625, gamma=1.05070102214813232421875),
    "Celu": _with(f.Celu, alpha=1.0),
    "ThresholdedRelu": _with(f.ThresholdedRelu, alpha=1.0),
    "Shrink": _with(f.Shrink, bias=0.0, lambd=0.5),
    "IsInf": _is_inf,
    "LogSoftmax": _log_softmax,
    "ArgMax": _arg(least=False),
    "ArgMin": _arg(least=True),
    "TopK": _top,
    "BitwiseAnd": _bits("BitAnd"),
    "BitwiseOr": _bits("BitOr"),
    "BitwiseXor": _bits("BitXor"),
    "BitwiseNot": _plain("BitNot", INT),
    "BitShift": _bits("BitShift"),
}
