"""ONNX for what one party computes alone: the way back from ``ops.clear``."""

from __future__ import annotations

from collections.abc import Callable

import onnx
from onnx import TensorProto

from ppc.frontend.emit.writer import OPSET, Final, Writer
from ppc.frontend.ir import ops
from ppc.frontend.ir.graph import FLOAT, INT, IRError
from ppc.runtime.base.onnx_node import MISSING, attributes_of


def clear(w: Writer, op: ops.Clear) -> Final:
    """Raises IRError for what opset 17 has no operator for."""
    rule = RULES.get(op.function)
    if rule is None:
        raise IRError(f"{op!r}: ONNX has no {op.function} before opset 18")
    return rule(w, op)


def _each(kind: str, *names: str) -> Callable[[Writer, ops.Clear], Final]:
    """A function of each element, ``names`` of its floats as attributes."""

    def rule(w: Writer, op: ops.Clear) -> Final:
        return kind, [w.of(op.xs[0], FLOAT)], dict(zip(names, op.floats, strict=True))

    return rule


def _over_axes(kind: str) -> Callable[[Writer, ops.Clear], Final]:
    def rule(w: Writer, op: ops.Clear) -> Final:
        axes, keep = op.ints[:-1], op.ints[-1]
        return kind, [w.of(op.xs[0], FLOAT)], {"axes": list(axes), "keepdims": keep}

    return rule


def _is_inf(w: Writer, op: ops.Clear) -> Final:
    negative, positive = op.ints
    signs = {"detect_negative": negative, "detect_positive": positive}
    return "IsInf", [w.of(op.xs[0], FLOAT)], signs


def _mish(w: Writer, op: ops.Clear) -> Final:
    x = w.of(op.xs[0], FLOAT)
    return "Mul", [x, w.node("Tanh", w.node("Softplus", x))], {}


def _log_softmax(w: Writer, op: ops.Clear) -> Final:
    return "LogSoftmax", [w.of(op.xs[0], FLOAT)], {"axis": op.ints[0]}


def _arg_extreme(w: Writer, op: ops.Clear) -> Final:
    axis, keep, last, least = op.ints
    attributes = {"axis": axis, "keepdims": keep, "select_last_index": last}
    return "ArgMin" if least else "ArgMax", [w.of(op.xs[0], op.xs[0].type.num)], attributes


def _top(w: Writer, op: ops.Clear) -> Final:
    axis, count, largest, places = op.ints
    x = w.of(op.xs[0], op.xs[0].type.num)
    values = w.node("TopK", x, w.integers((count,)), outputs=2, axis=axis, largest=largest)
    return "Identity", [f"{values}:1" if places else values], {}


def _shift(w: Writer, op: ops.Clear) -> Final:
    a, b = (w.node("Cast", w.of(x, INT), to=TensorProto.UINT64) for x in op.xs)
    moved = w.node("BitShift", a, b, direction="LEFT" if op.ints[0] else "RIGHT")
    return "Cast", [moved], {"to": TensorProto.INT64}


def _onnx(w: Writer, op: ops.Clear) -> Final:
    opset, which, _, *kinds = op.ints
    own = "." not in op.text and onnx.defs.has(op.text, opset)
    now, then = (own and onnx.defs.get_schema(op.text, version).since_version for version in (opset, OPSET))
    if which or not own or now != then:
        raise IRError(f"{op!r}: {op.text} as of opset {opset} is not written in opset {OPSET}")
    given = iter(op.xs)
    names = ["" if kind == MISSING else w.of(x := next(given), x.type.num) for kind in kinds]
    return op.text, names, dict(attributes_of(op.data))


_PLAIN = ("Ceil", "Round", "Log", "Sin", "Cos", "Tan", "Asin", "Acos", "Atan", "Sinh", "Cosh", "Asinh")

RULES: dict[str, Callable[[Writer, ops.Clear], Final]] = {
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
