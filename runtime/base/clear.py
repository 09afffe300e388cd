"""Functions that one party computes alone, in the clear and in doubles: the client on its mask and positions.

One table for the client's machine (`local`) and for the compiler's reference, so that the two agree. A
function gets its attributes as an object with ``ints``, ``floats`` and ``shape``, then its operands; truth is
0 and 1.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from .onnx_node import run_node

Array = NDArray[Any]


class Attributes(Protocol):
    @property
    def ints(self) -> tuple[int, ...]: ...
    @property
    def floats(self) -> tuple[float, ...]: ...
    @property
    def shape(self) -> tuple[int, ...]: ...


_erf = np.frompyfunc(math.erf, 1, 1)


def erf(x: Array) -> Array:
    return np.asarray(_erf(x)).astype(np.float64)


def sigmoid(x: Array) -> Array:
    return np.asarray((1 + np.tanh(x / 2)) / 2)


def softmax(x: Array, axis: int) -> Array:
    """A row in which all is masked by −∞ is 0, as exporters' guards and ONNX's Attention have it."""
    top = x.max(axis=axis, keepdims=True)
    e = np.exp(x - np.where(np.isneginf(top), 0.0, top))
    total = e.sum(axis=axis, keepdims=True)
    return np.asarray(e / np.where(total == 0, 1.0, total))


def _elu(op: Attributes, x: Array) -> Array:
    alpha, gamma = op.floats
    return np.asarray(gamma * np.where(x > 0, x, alpha * np.expm1(np.minimum(x, 0))))


def _celu(op: Attributes, x: Array) -> Array:
    (alpha,) = op.floats
    return np.asarray(np.maximum(x, 0) + alpha * np.expm1(np.minimum(x, 0) / alpha))


def _softplus(x: Array) -> Array:
    return np.asarray(np.logaddexp(0, x))


def _log_sum_exp(op: Attributes, x: Array) -> Array:
    axes, keep = op.ints[:-1], bool(op.ints[-1])
    top = x.max(axis=axes, keepdims=True)
    total = np.log(np.exp(x - top).sum(axis=axes, keepdims=True)) + top
    return np.asarray(total if keep else total.squeeze(axes))


def _arg_extreme(op: Attributes, x: Array) -> Array:
    """ints: axis, keepdims, whether the last of equals counts, whether the least is sought."""
    axis, keep, last, least = op.ints
    y = -x if least else x
    at = y.shape[axis] - 1 - np.flip(y, axis).argmax(axis) if last else y.argmax(axis)
    return np.expand_dims(at, axis) if keep else np.asarray(at)


def _top(op: Attributes, x: Array) -> Array:
    """ints: axis, k, whether the largest are sought, whether their places are asked for."""
    axis, k, largest, places = op.ints
    order = np.argsort(-x if largest else x, axis=axis, kind="stable")
    first = np.take(order, np.arange(k), axis=axis)
    return first if places else np.take_along_axis(x, first, axis)


def _shift(op: Attributes, a: Array, b: Array) -> Array:
    left = bool(op.ints[0])
    return np.asarray(np.left_shift(whole(a), whole(b)) if left else np.right_shift(whole(a), whole(b)))


def whole(x: Array) -> NDArray[np.int64]:
    return x.astype(np.int64)


def _unary(fn: Callable[[Array], Array]) -> Callable[..., Array]:
    return lambda op, x: np.asarray(fn(x))


def _whole(fn: Callable[..., Array]) -> Callable[..., Array]:
    return lambda op, *xs: np.asarray(fn(*(whole(x) for x in xs)))


CLEAR: dict[str, Callable[..., Array]] = {
    "Ceil": _unary(np.ceil),
    "Round": _unary(np.rint),
    "Log": _unary(np.log),
    "Sin": _unary(np.sin),
    "Cos": _unary(np.cos),
    "Tan": _unary(np.tan),
    "Asin": _unary(np.arcsin),
    "Acos": _unary(np.arccos),
    "Atan": _unary(np.arctan),
    "Sinh": _unary(np.sinh),
    "Cosh": _unary(np.cosh),
    "Asinh": _unary(np.arcsinh),
    "Acosh": _unary(np.arccosh),
    "Atanh": _unary(np.arctanh),
    "IsInf": lambda op, x: np.isposinf(x) * op.ints[1] + np.isneginf(x) * op.ints[0] > 0,
    "Softplus": _unary(_softplus),
    "Softsign": _unary(lambda x: x / (1 + np.abs(x))),
    "Mish": _unary(lambda x: x * np.tanh(_softplus(x))),
    "Elu": _elu,
    "Celu": _celu,
    "ThresholdedRelu": lambda op, x: np.where(x > op.floats[0], x, 0.0),
    "Shrink": lambda op, x: np.where(np.abs(x) > op.floats[1], x - np.sign(x) * op.floats[0], 0.0),
    "LogSoftmax": lambda op, x: x - _log_sum_exp(op, x),
    "Product": lambda op, x: x.prod(axis=op.ints[:-1], keepdims=bool(op.ints[-1])),
    "LogSumExp": _log_sum_exp,
    "ArgExtreme": _arg_extreme,
    "Top": _top,
    "Onnx": run_node,
    "BitAnd": _whole(np.bitwise_and),
    "BitOr": _whole(np.bitwise_or),
    "BitXor": _whole(np.bitwise_xor),
    "BitNot": _whole(np.bitwise_not),
    "BitShift": _shift,
}
"""Entries that the IR has no op of its own for, because two parties have no protocol for them."""
