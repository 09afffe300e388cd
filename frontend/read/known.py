"""What a file says outright: tensors, and who may know them; a node's operator and attributes."""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import IntEnum

import numpy as np
import onnx
from onnx import helper, numpy_helper

from ppc.frontend.ir.ops import Const
from ppc.frontend.read.formula import of_a_formula
from ppc.frontend.read.worker import Array, plain


class Kept(IntEnum):
    """Who may know a tensor of the model; what derives from several is kept as the most secret of them."""

    PUBLIC = 0
    """Shapes, and what belongs to a formula (`formula.py`)."""

    WHOLE = 1
    """Truth values and integers of 64 and 32 bits, the kinds that places and shapes have: the server's,
    unless an operator needs them in the open."""

    NUMBER = 2
    """A single float: the server's alone, but whole numbers made of it, a size for one, are `WHOLE`."""

    SECRET = 3
    """The server's alone, whatever becomes of it."""

    def of(self, value: Array) -> Kept:
        """How a result of what is kept so is kept."""
        return Kept.WHOLE if self is Kept.NUMBER and value.dtype.kind in "iub" else self


@dataclass(frozen=True)
class Known:
    """A tensor known when the model is read."""

    value: Array
    kept: Kept
    element: int = 0
    """The ONNX type of elements that numpy does not have, and that were widened."""

    @property
    def secret(self) -> bool:
        return self.kept is not Kept.PUBLIC

    def const(self, name: str) -> Const:
        return Const(self.value, self.secret, may_open=self.kept is Kept.WHOLE, name=name)

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


def held(tensor: onnx.TensorProto) -> Known:
    """A tensor that the model holds, as it holds it."""
    value = read_tensor(tensor)
    narrow = helper.tensor_dtype_to_np_dtype(tensor.data_type).kind == "V"
    return Known(value, kept(value), tensor.data_type if narrow else 0)


def kept(value: Array) -> Kept:
    """How a tensor of the model is kept, in whatever node or list of the file it stands."""
    if of_a_formula(value):
        return Kept.PUBLIC
    if value.dtype in (np.int64, np.int32, np.bool_):
        return Kept.WHOLE
    return Kept.NUMBER if value.size == 1 and value.dtype.kind == "f" else Kept.SECRET


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
    """The value of a Constant node, kept like an initializer: some exporters write every weight so."""
    kinds = {
        "value_float": np.float32,
        "value_floats": np.float32,
        "value_int": np.int64,
        "value_ints": np.int64,
    }
    for each in node.attribute:
        if each.HasField("t"):
            return held(each.t)
        if each.name in kinds:
            value = np.asarray(helper.get_attribute_value(each), kinds[each.name])
            return Known(value, kept(value))
    return None
