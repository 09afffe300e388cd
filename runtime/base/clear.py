"""The part of `meaning.MEANING` that one party computes alone: two parties have no protocol for it."""

from __future__ import annotations

from collections.abc import Callable
from math import inf

from .function import (
    ArgExtreme,
    BitShift,
    Celu,
    Elu,
    IsInf,
    LogSoftmax,
    LogSumExp,
    Onnx,
    Product,
    Shrink,
    ThresholdedRelu,
    Top,
)
from .namespace import Array, Namespace
from .onnx_node import run_node


def whole(xp: Namespace, x: Array) -> Array:
    return xp.astype(x, xp.int64)


def _softplus(xp: Namespace, x: Array) -> Array:
    return xp.logaddexp(xp.zeros_like(x), x)


def _on_whole(name: str) -> Callable[..., Array]:
    return lambda xp, *xs: getattr(xp, name)(*(whole(xp, x) for x in xs))


PLAIN: dict[str, Callable[..., Array]] = {
    "Ceil": lambda xp, x: xp.ceil(x),
    "Round": lambda xp, x: xp.round(x),
    "Log": lambda xp, x: xp.log(x),
    "Sin": lambda xp, x: xp.sin(x),
    "Cos": lambda xp, x: xp.cos(x),
    "Tan": lambda xp, x: xp.tan(x),
    "Asin": lambda xp, x: xp.asin(x),
    "Acos": lambda xp, x: xp.acos(x),
    "Atan": lambda xp, x: xp.atan(x),
    "Sinh": lambda xp, x: xp.sinh(x),
    "Cosh": lambda xp, x: xp.cosh(x),
    "Asinh": lambda xp, x: xp.asinh(x),
    "Acosh": lambda xp, x: xp.acosh(x),
    "Atanh": lambda xp, x: xp.atanh(x),
    "Softplus": _softplus,
    "Softsign": lambda xp, x: x / (1 + xp.abs(x)),
    "Mish": lambda xp, x: x * xp.tanh(_softplus(xp, x)),
    "BitAnd": _on_whole("bitwise_and"),
    "BitOr": _on_whole("bitwise_or"),
    "BitXor": _on_whole("bitwise_xor"),
    "BitNot": _on_whole("bitwise_invert"),
}
"""Those without attributes, called with the namespace and operands alone."""


def _is_inf(xp: Namespace, at: IsInf, x: Array) -> Array:
    return ((x == inf) & at.positive) | ((x == -inf) & at.negative)


def _elu(xp: Namespace, at: Elu, x: Array) -> Array:
    return at.gamma * xp.where(x > 0, x, at.alpha * xp.expm1(xp.clip(x, None, 0)))


def _celu(xp: Namespace, at: Celu, x: Array) -> Array:
    return xp.clip(x, 0, None) + at.alpha * xp.expm1(xp.clip(x, None, 0) / at.alpha)


def _thresholded_relu(xp: Namespace, at: ThresholdedRelu, x: Array) -> Array:
    return xp.where(x > at.alpha, x, 0.0)


def _shrink(xp: Namespace, at: Shrink, x: Array) -> Array:
    return xp.where(xp.abs(x) > at.lambd, x - xp.sign(x) * at.bias, 0.0)


def _log_of_sum(xp: Namespace, axes: tuple[int, ...], x: Array) -> Array:
    top = xp.max(x, axis=axes, keepdims=True)
    return xp.log(xp.sum(xp.exp(x - top), axis=axes, keepdims=True)) + top


def _log_softmax(xp: Namespace, at: LogSoftmax, x: Array) -> Array:
    return x - _log_of_sum(xp, (at.axis,), x)


def _log_sum_exp(xp: Namespace, at: LogSumExp, x: Array) -> Array:
    total = _log_of_sum(xp, at.axes, x)
    return total if at.keepdims else xp.squeeze(total, axis=at.axes)


def _product(xp: Namespace, at: Product, x: Array) -> Array:
    return xp.prod(x, axis=at.axes, keepdims=at.keepdims)


def _arg_extreme(xp: Namespace, at: ArgExtreme, x: Array) -> Array:
    y = -x if at.least else x
    if not at.last:
        return xp.argmax(y, axis=at.axis, keepdims=at.keepdims)
    return y.shape[at.axis] - 1 - xp.argmax(xp.flip(y, (at.axis,)), axis=at.axis, keepdims=at.keepdims)


def _top(xp: Namespace, at: Top, x: Array) -> Array:
    if not 0 <= at.k <= x.shape[at.axis]:
        raise ValueError(f"{at.k} of {x.shape[at.axis]} elements")
    order = xp.argsort(-x if at.largest else x, at.axis)
    first = order[tuple(slice(at.k) if i == at.axis % x.ndim else slice(None) for i in range(x.ndim))]
    return first if at.places else xp.take_along_axis(x, first, at.axis)


def _shift(xp: Namespace, at: BitShift, a: Array, b: Array) -> Array:
    shift = xp.bitwise_left_shift if at.left else xp.bitwise_right_shift
    return shift(whole(xp, a), whole(xp, b))


def _onnx(xp: Namespace, at: Onnx, *xs: Array) -> Array:
    return run_node(at, *xs)


WITH_ATTRIBUTES: dict[str, Callable[..., Array]] = {
    "IsInf": _is_inf,
    "Elu": _elu,
    "Celu": _celu,
    "ThresholdedRelu": _thresholded_relu,
    "Shrink": _shrink,
    "LogSoftmax": _log_softmax,
    "Product": _product,
    "LogSumExp": _log_sum_exp,
    "ArgExtreme": _arg_extreme,
    "Top": _top,
    "BitShift": _shift,
    "Onnx": _onnx,
}
"""The others, called with their attributes between."""
