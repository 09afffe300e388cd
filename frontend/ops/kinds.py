"""ONNX's element types and the IR's kinds of number."""

from __future__ import annotations

import onnx

from ppc.frontend.ir.graph import BOOL, FLOAT, INT, Num

_KINDS: dict[int, Num] = {
    onnx.TensorProto.BOOL: BOOL,
    **dict.fromkeys(
        (
            onnx.TensorProto.FLOAT,
            onnx.TensorProto.FLOAT16,
            onnx.TensorProto.BFLOAT16,
            onnx.TensorProto.DOUBLE,
        ),
        FLOAT,
    ),
    **dict.fromkeys(
        (
            onnx.TensorProto.INT64,
            onnx.TensorProto.INT32,
            onnx.TensorProto.INT16,
            onnx.TensorProto.INT8,
            onnx.TensorProto.UINT8,
            onnx.TensorProto.UINT16,
            onnx.TensorProto.UINT32,
            onnx.TensorProto.UINT64,
        ),
        INT,
    ),
}

TYPES: dict[Num, int] = {
    FLOAT: onnx.TensorProto.FLOAT,
    INT: onnx.TensorProto.INT64,
    BOOL: onnx.TensorProto.BOOL,
}
"""The element type in which a kind is written."""


def kind_of(elem_type: int) -> Num | None:
    """The IR's kind for an ONNX element type; None for strings and complex numbers."""
    return _KINDS.get(elem_type)
