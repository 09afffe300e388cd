"""What a file says outright: tensors, and which of them are weights; a node's operator and attributes."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import onnx
from onnx import helper, numpy_helper

from ppc.frontend.read.worker import Array, plain


@dataclass(frozen=True)
class Known:
    """A tensor known when the model is read; ``secret`` where it derives from a weight."""

    value: Array
    secret: bool

    def __repr__(self) -> str:
        return f"<Known {self.value.dtype}{list(self.value.shape)}>"


def read_tensor(tensor: onnx.TensorProto) -> Array:
    """A tensor's value; element types that numpy does not have are widened.

    Raises ValueError for a shape of more elements than there is data for, before it is made.
    """
    data = (tensor.raw_data, tensor.float_data, tensor.int32_data, tensor.int64_data)
    held = max(map(len, (*data, tensor.double_data, tensor.uint64_data, tensor.string_data)))
    if min(tensor.dims, default=0) < 0 or math.prod(tensor.dims) > 2 * held:  # two of 4 bits in a byte
        raise ValueError(f"a shape of {list(tensor.dims)} with data for at most {2 * held} elements")
    return plain(np.asarray(numpy_helper.to_array(tensor)))


def is_weight(value: Array) -> bool:
    """Whether an initializer is to be kept secret.

    All are, but for 64-bit integers and bools (positions, token types, masks, shapes), which are no weights,
    and for what belongs to a formula: single numbers of it, causal masks, counted places, the frequencies of
    rotary embeddings. Simplifiers turn every Constant node into an initializer, and a mask scaled by a secret
    −10000 would no longer be the client's alone, nor its positions times secret frequencies.
    """
    if value.dtype in (np.int64, np.bool_):
        return False
    if value.ndim == 0:
        return value.dtype.kind != "f" or not _belongs_to_a_formula(float(value))
    return not _is_causal(value) and not _is_geometric(value) and not _counts(value)


def _is_causal(value: Array) -> bool:
    """0 on and below the diagonal and one other number above it, or the other way round."""
    if value.ndim < 2 or min(value.shape[-2:]) < 2 or math.prod(value.shape[:-2]) != 1:
        return False
    matrix = value.reshape(value.shape[-2:])
    rows, columns = value.shape[-2:]
    below = np.tri(rows, columns, dtype=np.bool_)
    low, high = matrix[-1, 0], matrix[0, -1]
    return bool((low == 0) != (high == 0) and np.array_equal(matrix, np.where(below, low, high)))


def _is_geometric(value: Array) -> bool:
    """1, r, r², … with r < 1: θ^(−2i/d) of a rotary embedding."""
    row = value.reshape(-1).astype(np.float64)
    if value.dtype.kind != "f" or not 3 <= row.size == max(value.shape) or row[0] != 1 or not 0 < row[1] < 1:
        return False
    return bool(np.allclose(row, row[1] ** np.arange(row.size), rtol=1e-4, atol=0))


def _counts(value: Array) -> bool:
    """n, n + 1, n + 2, …"""
    if value.dtype.kind not in "iu" or not 3 <= value.size == max(value.shape):
        return False
    return bool((np.diff(value.reshape(-1).astype(np.int64)) == 1).all())


def _belongs_to_a_formula(x: float) -> bool:
    """Epsilons, mask fillers, √n, ⁴√n and their inverses, eighths, the constants of GELU."""
    if abs(x) <= 1e-5 or abs(x) >= 1e4 or x != x:
        return True
    if any(abs(abs(x) / c - 1) < 1e-6 for c in (0.044715, 0.79788456, 1.702)):
        return True
    scaled = (8 * abs(x), x**2, x**-2, x**4, x**-4)
    return any(0.5 < y < 2**16 and abs(round(y) / y - 1) < 1e-6 for y in scaled)


OWN_DOMAINS = ("", "ai.onnx")


def operator(node: onnx.NodeProto) -> str:
    """Its op_type, with the domain in front where it is not ONNX's own."""
    return node.op_type if node.domain in OWN_DOMAINS else f"{node.domain}.{node.op_type}"


def attributes(node: onnx.NodeProto) -> dict[str, object]:
    """Attributes as Python values: strings decoded, tensors as arrays, graphs as they are."""
    found: dict[str, object] = {}
    for each in node.attribute:
        value = helper.get_attribute_value(each)
        if isinstance(value, bytes):
            value = value.decode()
        elif isinstance(value, onnx.TensorProto):
            value = read_tensor(value)
        found[each.name] = value
    return found


def constant_node(node: onnx.NodeProto) -> Known | None:
    """The value of a Constant node: public where it is one number, else a weight like an initializer, because
    some exporters write every weight so."""
    for key, value in attributes(node).items():
        if isinstance(value, np.ndarray):
            return Known(value, secret=value.size > 1 and is_weight(value))
        if key in ("value_float", "value_floats"):
            numbers = np.asarray(value, np.float32)
            return Known(numbers, secret=numbers.size > 1)
        if key in ("value_int", "value_ints"):
            return Known(np.asarray(value, np.int64), secret=False)
    return None
