"""ONNX for what one party computes alone: the way back from ``ops.clear``."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import onnx
from onnx import TensorProto

from ppc.frontend.emit.writer import OPSET, Final, Writer
from ppc.frontend.ir import ops
from ppc.frontend.ir.graph import FLOAT, INT, IRError
from ppc.runtime.base import function as f

Rule = Callable[[Writer, ops.Clear, Any], Final]
"""From the writer, the op and its function."""


def clear(w: Writer, op: ops.Clear) -> Final:
    """Raises IRError for what opset 17 has no operator for."""
    rule = RULES.get(op.function.key)
    if rule is None:
        raise IRError(f"{op!r}: ONNX has no {op.function.key} before opset 18")
    return rule(w, op, op.function)


def _each(kind: str, *names: str) -> Rule:
    """A function of each element, ``names`` of its attributes."""

    def rule(w: Writer, op: ops.Clear, at: f.Function) -> Final:
        return kind, [w.of(op.xs[0], FLOAT)], {name: getattr(at, name) for name in names}

    return rule


def _over_axes(kind: str) -> Rule:
    def rule(w: Writer, op: ops.Clear, at: f.Reduction) -> Final:
        return kind, [w.of(op.xs[0], FLOAT)], {"axes": list(at.axes), "keepdims": int(at.keepdims)}

    return rule


def _is_inf(w: Writer, op: ops.Clear, at: f.IsInf) -> Final:
    signs = {"detect_negative": int(at.negative), "detect_positive": int(at.positive)}
    return "IsInf", [w.of(op.xs[0], FLOAT)], signs


def _mish(w: Writer, op: ops.Clear, at: f.Plain) -> Final:
    x = w.of(op.xs[0], FLOAT)
    return "Mul", [x, w.node("Tanh", w.node("Softplus", x))], {}


def _log_softmax(w: Writer, op: ops.Clear, at: f.LogSoftmax) -> Final:
    return "LogSoftmax", [w.of(op.xs[0], FLOAT)], {"axis": at.axis}


def _arg_extreme(w: Writer, op: ops.Clear, at: f.ArgExtreme) -> Final:
    attributes = {"axis": at.axis, "keepdims": int(at.keepdims), "select_last_index": int(at.last)}
    return "ArgMin" if at.least else "ArgMax", [w.of(op.xs[0], op.xs[0].type.num)], attributes


def _top(w: Writer, op: ops.Clear, at: f.Top) -> Final:
    x = w.of(op.xs[0], op.xs[0].type.num)
    values = w.node("TopK", x, w.integers((at.k,)), outputs=2, axis=at.axis, largest=int(at.largest))
    return "Identity", [f"{values}:1" if at.places else values], {}


def _shift(w: Writer, op: ops.Clear, at: f.BitShift) -> Final:
    a, b = (w.node("Cast", w.of(x, INT), to=TensorProto.UINT64) for x in op.xs)
    moved = w.node("BitShift", a, b, direction="LEFT" if at.left else "RIGHT")
    return "Cast", [moved], {"to": TensorProto.INT64}


def _onnx(w: Writer, op: ops.Clear, at: f.Onnx) -> Final:
    kind = at.operator
    own = "." not in kind and onnx.defs.has(kind, at.opset)
    now, then = (own and onnx.defs.get_schema(kind, version).since_version for version in (at.opset, OPSET))
    if at.result or not own or now != then:
        raise IRError(f"{op!r}: {kind} as of opset {at.opset} is not written in opset {OPSET}")
    given = iter(op.xs)
    names = ["" if each is None else w.of(x := next(given), x.type.num) for each in at.kinds]
    return kind, names, dict(at.attributes)


_PLAIN = ("Ceil", "Round", "Log", "Sin", "Cos", "Tan", "Asin", "Acos", "Atan", "Sinh", "Cosh", "Asinh")

RULES: dict[str, Rule] = {
    **{kind: _each(kind) for kind in (*_PLAIN, "Acosh", "Atanh", "Softplus", "Softsign")},
    "Elu": _each("Selu", "alpha", "gamma"),
    "Celu": _each("Celu", "alpha"),
    "ThresholdedRelu": _each("ThresholdedRelu", "alpha"),
    "Shrink": _each("Shrink", "bias", "lambd"),
    "Mish": _mish,
    "IsInf": _is_inf,
    "LogSoftmax": _log_softmax,
    "Product": _over_axes("ReduceProd"),
    "LogSumExp": _over_axes("ReduceLogSumExp"),
    "ArgExtreme": _arg_extreme,
    "Top": _top,
    "BitShift": _shift,
    "Onnx": _onnx,
}
