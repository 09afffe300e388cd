"""Weights that a node takes packed, or in few bits: the node with the floats that they stand for.

    x @ W     MatMulNBits, MatMulBnb4            W is the node's value for the unit matrix
    T[ids]    GatherBlockQuantized               T is its value for all places in their order
    q, s, z   DynamicQuantizeMatMul, QAttention  a weight beside its scale and zero point: DequantizeLinear's
    s, z      QuantizeLinear, QLinearMatMul      (least − z)·s and (greatest − z)·s, where integers end

All are evaluated as any node of constants, by ONNX Runtime in a process of its own, so that the floats are
those that it computes with. The builders of `ops/` then get the operands of the plain operator.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx
from onnx import helper

from ppc.frontend.ir.graph import MAX_ELEMENTS, Op
from ppc.frontend.ops.node import Unsupported
from ppc.frontend.read.fold import fold
from ppc.frontend.read.known import Kept, Known, attributes, operator

Value = Op | Known | None
Given = tuple[str, Value]
"""An operand, and the name that its constant is kept by."""

Opsets = Sequence[onnx.OperatorSetIdProto]

_A_BYTE = 4
"""Weights in one, at most."""

_AT_ONCE = 2**35
"""Multiplications of one question: seconds on one core."""

_SCALED: dict[str, tuple[tuple[int, int, int], tuple[int, ...]]] = {
    "com.microsoft.DynamicQuantizeMatMul": ((1, 2, 3), (0, 1, 4)),
    "com.microsoft.MatMulIntegerToFloat": ((1, 3, 5), (0, 1, 2, 4, 6)),
    "com.microsoft.QAttention": ((1, 4, 7), (0, 1, 2, 3, 5, 6, 8)),
}
"""Where the weight, its scale and its zero point stand, and which operands are left once they are one."""


def unpacked(node: onnx.NodeProto, inputs: Sequence[Value], opsets: Opsets) -> list[Given] | None:
    """The operands of the plain operator, or None where the node holds nothing packed.

    Raises Unsupported for a weight that is not the model's own.
    """
    key = operator(node)
    if key in ("com.microsoft.MatMulNBits", "com.microsoft.MatMulBnb4"):
        held = _held(node, inputs, range(1, min(5, len(inputs))))
        bias = [(node.input[5], inputs[5])] if len(inputs) > 5 else []
        return [(node.input[0], inputs[0]), (_name(node, 1), _matrix(node, held, opsets)), *bias]
    if key == "com.microsoft.GatherBlockQuantized":
        held = _held(node, inputs, [i for i in range(len(inputs)) if i != 1])
        return [(_name(node, 0), _table(node, held, opsets)), (node.input[1], inputs[1])]
    if key in _SCALED:
        places, left = _SCALED[key]
        held = _held(node, inputs, [i for i in places if i < len(inputs)])
        given = list(zip(node.input, inputs, strict=True))
        given[places[0]] = (_name(node, places[0]), _dequantised([held.get(i) for i in places], opsets))
        return [given[i] for i in left if i < len(given)]
    if key in _ENDS:
        return [*zip(node.input, inputs, strict=True), *_ends(node, inputs, _ENDS[key])]
    return None


_ENDS = {"QuantizeLinear": 1, "com.microsoft.QuantizeLinear": 1, "QLinearMatMul": 6}
"""Where the scale of the result stands, and the zero point behind it."""


def _ends(node: onnx.NodeProto, inputs: Sequence[Value], at: int) -> list[Given]:
    """What the least and the greatest integer of the result stand for."""
    held = _held(node, inputs, range(at, min(at + 2, len(inputs))))
    scale, zero = held[at], held.get(at + 1)
    if zero is None:
        kind = np.dtype(
            helper.tensor_dtype_to_np_dtype(int(str(attributes(node).get("output_dtype", 0) or 2)))
        )
        zero = Known(np.zeros((), kind), Kept.PUBLIC)
    elif zero.element:
        raise Unsupported("quantizes activations to fewer than 8 bits")
    if zero.value.dtype.kind not in "iu":
        raise Unsupported("quantizes activations to what is no integer")
    limits = np.iinfo(zero.value.dtype)
    ends: list[Given] = [("", None)] * (at + 2 - len(inputs))  # a zero point that is missing
    for name, end in (("least", limits.min), ("greatest", limits.max)):
        steps = np.asarray(end - zero.value.astype(np.int64))
        sure = zero.kept is Kept.PUBLIC and not steps.any()  # 0, whatever the scale
        value = np.asarray(steps * scale.value, np.float32)
        known = Known(value, Kept.PUBLIC if sure else max(scale.kept, zero.kept))
        ends.append((f"{node.output[0]}/{name}", known))
    return ends


def _name(node: onnx.NodeProto, at: int) -> str:
    """The same bytes may stand for other floats in another node."""
    return f"{node.input[at]}/{node.output[0]}"


def _held(node: onnx.NodeProto, inputs: Sequence[Value], places: Sequence[int]) -> dict[int, Known]:
    found = {}
    for i in places:
        value = inputs[i]
        if isinstance(value, Known):
            found[i] = value
        elif value is not None:
            raise Unsupported(
                f"its operand {node.input[i]} is not the model's own; only weights are unpacked"
            )
    return found


def _matrix(node: onnx.NodeProto, held: dict[int, Known], opsets: Opsets) -> Known:
    """W of a node that gives x @ W + bias, from rows of the unit matrix."""
    said = attributes(node)
    inner, columns = (int(str(said[key])) for key in ("K", "N"))
    if not said.get("transB", 1):
        inner, columns = columns, inner
    if not 0 < inner * columns <= _A_BYTE * held[1].value.size:
        raise Unsupported(f"says that {held[1].value.size:,} bytes are {inner:,} × {columns:,} weights")
    alone = onnx.NodeProto()
    alone.CopyFrom(node)
    del alone.input[5:]  # the bias
    for i, each in enumerate(alone.attribute):
        if each.name == "accuracy_level":  # how activations may be rounded on the way
            del alone.attribute[i]
            break
    rows = max(1, min(inner, _AT_ONCE // max(1, inner * columns), MAX_ELEMENTS // max(1, columns, inner)))
    kind = held[2].value.dtype
    parts = []
    for start in range(0, inner, rows):
        unit = Known(np.eye(min(rows, inner - start), inner, start, kind), Kept.PUBLIC)
        parts.append(_made(alone, [unit, *(held.get(i) for i in range(1, len(alone.input)))], opsets))
    return Known(np.concatenate([each.value for each in parts]), max(each.kept for each in parts))


def _table(node: onnx.NodeProto, held: dict[int, Known], opsets: Opsets) -> Known:
    """The whole table of a node that looks up in it."""
    axis = int(str(attributes(node).get("gather_axis", 0)))
    places = Known(np.arange(held[0].value.shape[axis]), Kept.PUBLIC)
    return _made(node, [places if i == 1 else held.get(i) for i in range(len(node.input))], opsets)


def _dequantised(held: Sequence[Known | None], opsets: Opsets) -> Known:
    """A weight of one scale, or of one a column."""
    weight, scale, zero = held
    if weight is None or scale is None:
        raise Unsupported("its weight has no scale")
    names = ["q", "s"] + ["z"] * (zero is not None)
    alone = helper.make_node("DequantizeLinear", names, ["w"], axis=weight.value.ndim - 1)
    if scale.value.size == 1:
        scale = _flat(scale)
        zero = None if zero is None else _flat(zero)
    elif zero is not None:
        zero = Known(np.broadcast_to(zero.value, scale.value.shape), zero.kept, zero.element)
    return _made(alone, [each for each in (weight, scale, zero) if each is not None], opsets)


def _flat(one: Known) -> Known:
    if one.value.size != 1:
        raise Unsupported("its weight has one scale and several zero points")
    return Known(one.value.reshape(()), one.kept, one.element)


def _made(node: onnx.NodeProto, inputs: Sequence[Known | None], opsets: Opsets) -> Known:
    found = fold(node, inputs, opsets)
    if found is None:
        raise Unsupported("its weight is packed in a way that the ONNX Runtime here does not unpack")
    return found[0]
