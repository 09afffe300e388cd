"""What the client computes alone, in floating point: mask arithmetic, positions, one-hot rows, counts.

A list of records in single assignment, like the steps.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import msgspec
import numpy as np
from numpy.typing import NDArray

from ..base.errors import BadInput
from ..base.function import AnyFunction, OneHot, Onnx
from ..base.meaning import MEANING
from ..base.namespace import NUMPY
from ..base.one_hot import OneHotRows

Array = NDArray[Any]
Shape = tuple[int, ...]
Kind = Literal["bits", "i1", "i2", "i4", "i8", "f4", "f8"]

Local = NDArray[np.float64] | OneHotRows
"""A value that the client computes alone; rows of a look-up are not written out."""

MAX_LOCAL = 2**28
"""Numbers in one value."""


class Input(msgspec.Struct, frozen=True, tag_field="local", tag=True, forbid_unknown_fields=True):
    """What the client brings under that name."""

    name: str


class Const(msgspec.Struct, frozen=True, tag_field="local", tag=True, forbid_unknown_fields=True):
    shape: Shape
    values: tuple[float, ...]


class Packed(msgspec.Struct, frozen=True, tag_field="local", tag=True, forbid_unknown_fields=True):
    """A larger constant, little-endian in a type of numpy's; or "bits", most significant first."""

    shape: Shape
    kind: Kind
    data: bytes


class Apply(msgspec.Struct, frozen=True, tag_field="local", tag=True, forbid_unknown_fields=True):
    """A function of earlier local values ``args``."""

    function: AnyFunction
    args: tuple[int, ...]


LocalOp = Input | Const | Packed | Apply


def shape_of(op: LocalOp) -> Shape:
    """The shape that the record itself asks for; () where that follows from its operands."""
    said: Shape = getattr(op.function if isinstance(op, Apply) else op, "shape", ())
    return said


def infer_local(ops: Sequence[LocalOp], inputs: Mapping[str, Shape]) -> None:
    """Check the records without data: earlier arguments, inputs that exist, shapes that one may ask for."""
    for i, op in enumerate(ops):
        match op:
            case Apply(args=args) if any(not 0 <= a < i for a in args):
                raise ValueError(f"local value {i} reads one that does not exist yet")
            case Input(name=name) if name not in inputs:
                raise ValueError(f"local value {i} reads an input {name!r} that the plan does not name")
        shape = shape_of(op)
        if math.prod(shape) > MAX_LOCAL or any(d < 0 for d in shape):
            raise ValueError(f"local value {i} has shape {shape}")


def by_onnx_runtime(ops: Sequence[LocalOp]) -> list[Onnx]:
    """Those that take packages which no other does (`base.onnx_node`)."""
    return [op.function for op in ops if isinstance(op, Apply) and isinstance(op.function, Onnx)]


def run_local(ops: Sequence[LocalOp], feeds: Mapping[str, Array]) -> list[Local]:
    """Every local value from the client's checked inputs."""
    values: list[Local] = []
    for op in ops:
        try:
            with np.errstate(all="ignore"):
                value = _value(op, feeds, values)
                values.append(value if isinstance(value, OneHotRows) else np.asarray(value, np.float64))
        except (ValueError, IndexError, TypeError, KeyError, ArithmeticError, MemoryError) as error:
            raise BadInput(f"the client's own {_called(op)} cannot be computed: {error}") from None
    return values


def _value(op: LocalOp, feeds: Mapping[str, Array], values: Sequence[Local]) -> Array | OneHotRows:
    match op:
        case Input():
            return feeds[op.name]
        case Const():
            return np.array(op.values, np.float64).reshape(op.shape)
        case Packed():
            return unpacked(op)
        case Apply(function=function):
            operands = [np.asarray(values[a], np.float64) for a in op.args]
            if isinstance(function, OneHot):
                return _one_hot(function, *operands)
            result: Array = MEANING[function.key](NUMPY, function, *operands)
            return result


def _called(op: LocalOp) -> str:
    return op.function.key if isinstance(op, Apply) else type(op).__name__


def unpacked(op: Packed) -> Array:
    """The constant itself."""
    count = math.prod(op.shape)
    if op.kind == "bits":
        return np.unpackbits(np.frombuffer(op.data, np.uint8), count=count).reshape(op.shape)
    return np.frombuffer(op.data, np.dtype(op.kind).newbyteorder("<"), count=count).reshape(op.shape)


def packed(value: Array) -> Packed:
    """The record of a constant, in the narrowest kind that holds it exactly."""
    if value.dtype.kind == "b":
        return Packed(value.shape, "bits", np.packbits(value.ravel()).tobytes())
    kinds: tuple[Kind, ...] = ("f4", "f8") if value.dtype.kind == "f" else ("i1", "i2", "i4", "i8")
    kind = next(each for each in kinds if np.array_equal(value.astype(each), value, equal_nan=each[0] == "f"))
    return Packed(value.shape, kind, value.astype(np.dtype(kind).newbyteorder("<")).tobytes())


def _one_hot(op: OneHot, ids: Array) -> OneHotRows:
    """Ids are the one thing here that a user gives wrong; they must not become rows of zeros."""
    each, depth = ids.astype(np.int64), op.depth
    if each.size and (each.min() < -depth or each.max() >= depth):
        worst = each.max() if each.max() >= depth else each.min()
        raise BadInput(f"{op.name or 'an index'} must lie in [0, {depth - 1}], not {worst}")
    if each.size * depth > MAX_LOCAL:
        raise ValueError(f"{each.size} rows of {depth} are more than {MAX_LOCAL} numbers")
    return OneHotRows(np.where(each < 0, each + depth, each), depth)
