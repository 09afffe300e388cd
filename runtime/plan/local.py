"""What the client computes alone, in floating point: mask arithmetic, positions, one-hot rows, counts.

A list of records in single assignment, like the steps; each names one function of the table below.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

import msgspec
import numpy as np
from numpy.typing import NDArray

from ..base.clear import CLEAR, Array, erf, sigmoid, softmax, whole
from ..base.errors import BadInput
from ..base.one_hot import OneHotRows

Local = NDArray[np.float64] | OneHotRows
"""A value that the client computes alone; rows of a look-up are not written out."""


class LocalOp(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``op`` of earlier local values ``args``; ``ints``, ``floats`` and ``data`` are its attributes."""

    op: str
    args: tuple[int, ...] = ()
    shape: tuple[int, ...] = ()
    ints: tuple[int, ...] = ()
    floats: tuple[float, ...] = ()
    text: str = ""
    data: bytes = b""


def _one_hot(op: LocalOp, ids: Array) -> OneHotRows:
    depth = op.ints[0]
    each = whole(ids)
    if each.size and (each.min() < -depth or each.max() >= depth):
        raise BadInput(f"{op.text or 'an index'} must lie in [0, {depth - 1}], not {_extreme(each, depth)}")
    if each.size * depth > MAX_LOCAL:
        raise ValueError(f"{each.size} rows of {depth} are more than {MAX_LOCAL} numbers")
    return OneHotRows(np.where(each < 0, each + depth, each), depth)


def _extreme(ids: Array, depth: int) -> int:
    return int(ids.max()) if ids.max() >= depth else int(ids.min())


def _slice(op: LocalOp, x: Array) -> Array:
    cuts = np.array(op.ints).reshape(-1, 3)
    return x[tuple(slice(int(a), int(b), int(s)) for a, b, s in cuts)]


def _where(op: LocalOp, c: Array, a: Array, b: Array) -> Array:
    return np.asarray(np.where(c != 0, a, b))


def _cumsum(op: LocalOp, x: Array) -> Array:
    """ints: axis, whether an element is left out of its own sum, whether sums run backwards."""
    axis, exclusive, reverse = op.ints
    y = np.flip(x, axis) if reverse else x
    total = np.cumsum(y, axis=axis) - (y if exclusive else 0)
    return np.flip(total, axis) if reverse else np.asarray(total)


def _norm(op: LocalOp, x: Array, gamma: Array, beta: Array | float = 0.0) -> Array:
    """floats: ε; ints: whether the mean is taken out first."""
    centred = x - x.mean(axis=-1, keepdims=True) if op.ints[0] else x
    return np.asarray(
        centred / np.sqrt((centred**2).mean(axis=-1, keepdims=True) + op.floats[0]) * gamma + beta
    )


def _gelu(op: LocalOp, x: Array) -> Array:
    if op.text == "tanh":
        return np.asarray(x * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3))) / 2)
    return np.asarray(x * (1 + erf(x / math.sqrt(2))) / 2)


PACKINGS = {"i1": "|i1", "i2": "<i2", "i4": "<i4", "i8": "<i8", "f4": "<f4", "f8": "<f8"}
"""How a larger constant's ``data`` is to be read; "bits" besides, most significant first."""


def _packed(op: LocalOp) -> Array:
    count = math.prod(op.shape)
    if op.text == "bits":
        return np.unpackbits(np.frombuffer(op.data, np.uint8), count=count).reshape(op.shape)
    return np.frombuffer(op.data, PACKINGS[op.text], count=count).reshape(op.shape)


# Attributes: axes and keepdims last in ``ints`` for reductions, bounds in ``floats`` for Clip.
TABLE: dict[str, Callable[..., Array | OneHotRows]] = {
    **CLEAR,
    "Const": lambda op: np.array(op.floats, np.float64).reshape(op.shape),
    "Packed": _packed,
    "Add": lambda op, a, b: a + b,
    "Sub": lambda op, a, b: a - b,
    "Mul": lambda op, a, b: a * b,
    "Div": lambda op, a, b: a / b,
    "Quotient": lambda op, a, b: np.trunc(a / b),
    "Neg": lambda op, a: -a,
    "Abs": lambda op, a: np.abs(a),
    "Floor": lambda op, a: np.floor(a),
    "Sqrt": lambda op, a: np.sqrt(a),
    "Exp": lambda op, a: np.exp(a),
    "Reciprocal": lambda op, a: 1 / a,
    "Erf": lambda op, a: erf(a),
    "Tanh": lambda op, a: np.tanh(a),
    "Sigmoid": lambda op, a: sigmoid(a),
    "Relu": lambda op, a: np.maximum(a, 0),
    "Gelu": _gelu,
    "Silu": lambda op, a: a * sigmoid(a),
    "Softmax": lambda op, a: softmax(a, op.ints[0]),
    "Norm": _norm,
    "Square": lambda op, a: a * a,
    "Pow": lambda op, a, b: np.power(a, b),
    "Min": lambda op, a, b: np.minimum(a, b),
    "Max": lambda op, a, b: np.maximum(a, b),
    "Mod": lambda op, a, b: np.mod(a, b),
    "Remainder": lambda op, a, b: np.fmod(a, b),
    "Clip": lambda op, a: np.clip(a, op.floats[0], op.floats[1]),
    "Equal": lambda op, a, b: (a == b).astype(np.float64),
    "Less": lambda op, a, b: (a < b).astype(np.float64),
    "Greater": lambda op, a, b: (a > b).astype(np.float64),
    "LessOrEqual": lambda op, a, b: (a <= b).astype(np.float64),
    "GreaterOrEqual": lambda op, a, b: (a >= b).astype(np.float64),
    "Not": lambda op, a: (a == 0).astype(np.float64),
    "And": lambda op, a, b: ((a != 0) & (b != 0)).astype(np.float64),
    "Or": lambda op, a, b: ((a != 0) | (b != 0)).astype(np.float64),
    "IsNaN": lambda op, a: np.isnan(a).astype(np.float64),
    "Where": _where,
    "Truncate": lambda op, a: np.trunc(a),
    "Boolean": lambda op, a: (a != 0).astype(np.float64),
    "CumSum": _cumsum,
    "MatMul": lambda op, a, b: a @ b,
    "OneHot": _one_hot,
    "Gather": lambda op, a, i: np.take(a, whole(i), axis=op.ints[0]),
    "Reshape": lambda op, a: a.reshape(op.shape),
    "Transpose": lambda op, a: a.transpose(op.ints),
    "Broadcast": lambda op, a: np.broadcast_to(a, op.shape),
    "Slice": _slice,
    "Concat": lambda op, *parts: np.concatenate(parts, axis=op.ints[0]),
    "Sum": lambda op, a: a.sum(axis=op.ints[:-1], keepdims=bool(op.ints[-1])),
    "Mean": lambda op, a: a.mean(axis=op.ints[:-1], keepdims=bool(op.ints[-1])),
    "Maximum": lambda op, a: a.max(axis=op.ints[:-1], keepdims=bool(op.ints[-1])),
}

MAX_LOCAL = 2**28


def infer_local(ops: Sequence[LocalOp], inputs: Mapping[str, tuple[int, ...]]) -> None:
    """Check the records without data: known functions, earlier arguments, inputs that exist."""
    for i, op in enumerate(ops):
        if any(not 0 <= a < i for a in op.args):
            raise ValueError(f"local value {i} reads one that does not exist yet")
        if op.op == "Input":
            if op.text not in inputs:
                raise ValueError(f"local value {i} reads an input {op.text!r} that the plan does not name")
        elif op.op not in TABLE:
            raise ValueError(f"local value {i} is an unknown function {op.op!r}")
        size = 1
        for d in op.shape:
            size *= d
        if size > MAX_LOCAL or any(d < 0 for d in op.shape):
            raise ValueError(f"local value {i} has shape {op.shape}")


def run_local(ops: Sequence[LocalOp], feeds: Mapping[str, Array]) -> list[Local]:
    """Every local value from the client's checked inputs."""
    values: list[Local] = []
    for op in ops:
        if op.op == "Input":
            values.append(np.asarray(feeds[op.text], np.float64))
        else:
            try:
                with np.errstate(all="ignore"):
                    value = TABLE[op.op](op, *(np.asarray(values[a], np.float64) for a in op.args))
                    values.append(value if isinstance(value, OneHotRows) else np.asarray(value, np.float64))
            except (ValueError, IndexError, TypeError, KeyError, ArithmeticError, MemoryError) as error:
                raise BadInput(f"the client's own {op.op} cannot be computed: {error}") from None
    return values
