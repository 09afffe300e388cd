"""What every function means over the reals, told once.

The compiler's oracle, the client's own part, the fitting of splines and training all compute by `MEANING`.
An entry gets a namespace (numpy, or PyTorch where gradients are wanted), its attributes and its operands'
values. The attributes are any object with the fields of the record of that name in `function`: the record, or
the IR's op. Truth may be given as numbers, all but 0 being true.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import inf, pi, sqrt
from typing import Protocol

from . import clear
from . import function as f
from .clear import whole
from .namespace import Array, Namespace

Meaning = Callable[..., Array]


def _sigmoid(xp: Namespace, x: Array) -> Array:
    return (1 + xp.tanh(x / 2)) / 2


PLAIN: dict[str, Meaning] = {
    "Add": lambda xp, a, b: a + b,
    "Sub": lambda xp, a, b: a - b,
    "Mul": lambda xp, a, b: a * b,
    "Div": lambda xp, a, b: a / b,
    "Quotient": lambda xp, a, b: xp.trunc(a / b),
    "Pow": lambda xp, a, b: xp.pow(a, b),
    "Max": lambda xp, a, b: xp.maximum(a, b),
    "Min": lambda xp, a, b: xp.minimum(a, b),
    "Equal": lambda xp, a, b: a == b,
    "Less": lambda xp, a, b: a < b,
    "Greater": lambda xp, a, b: a > b,
    "LessOrEqual": lambda xp, a, b: a <= b,
    "GreaterOrEqual": lambda xp, a, b: a >= b,
    "And": lambda xp, a, b: xp.logical_and(a, b),
    "Or": lambda xp, a, b: xp.logical_or(a, b),
    "Not": lambda xp, x: xp.logical_not(x),
    "Where": lambda xp, condition, a, b: xp.where(condition != 0, a, b),
    "IsNaN": lambda xp, x: xp.isnan(x),
    "Truncate": lambda xp, x: xp.trunc(x),
    "Boolean": lambda xp, x: x != 0,
    "Neg": lambda xp, x: -x,
    "Abs": lambda xp, x: xp.abs(x),
    "Floor": lambda xp, x: xp.floor(x),
    "Square": lambda xp, x: xp.square(x),
    "Sqrt": lambda xp, x: xp.sqrt(x),
    "Reciprocal": lambda xp, x: 1 / x,
    "Exp": lambda xp, x: xp.exp(x),
    "Erf": lambda xp, x: xp.erf(x),
    "Tanh": lambda xp, x: xp.tanh(x),
    "Sigmoid": _sigmoid,
    "Relu": lambda xp, x: xp.clip(x, 0, None),
    "Silu": lambda xp, x: x * _sigmoid(xp, x),
    "MatMul": lambda xp, a, b: a @ b,
    **clear.PLAIN,
}
"""Functions without attributes, called with the namespace and operands alone."""


def _mod(xp: Namespace, at: f.Mod, a: Array, b: Array) -> Array:
    return xp.fmod(a, b) if at.fmod else xp.remainder(a, b)


def _clip(xp: Namespace, at: f.Clip, x: Array) -> Array:
    lo, hi = (end if end is None or xp.is_real(x) else int(end) for end in (at.lo, at.hi))
    return x if lo is None and hi is None else xp.clip(x, lo, hi)


def _gelu(xp: Namespace, at: f.Gelu, x: Array) -> Array:
    if at.approx == "tanh":
        return x * (1 + xp.tanh(sqrt(2 / pi) * (x + 0.044715 * x**3))) / 2
    return x * (1 + xp.erf(x / sqrt(2))) / 2


class Quadratics(Protocol):
    """A spline: c₀ + c₁·x + c₂·x² from knot to knot, and slope·x from the knot of a gate on."""

    @property
    def knots(self) -> tuple[float, ...]: ...
    @property
    def pieces(self) -> tuple[tuple[float, float, float], ...]: ...
    @property
    def gates(self) -> tuple[tuple[int, float], ...]: ...


def spline(xp: Namespace, spec: Quadratics, x: Array) -> Array:
    x = xp.astype(x, xp.real)
    at = xp.searchsorted(xp.asarray(spec.knots, dtype=xp.real), x, side="right")
    c = xp.asarray(spec.pieces, dtype=xp.real)[at]
    value = c[..., 0] + x * (c[..., 1] + x * c[..., 2])
    for index, slope in spec.gates:
        value = value + xp.where(x >= spec.knots[index], slope * x, 0.0)
    return value


class Splined(Protocol):
    @property
    def spline(self) -> Quadratics: ...


def _spline(xp: Namespace, at: Splined, x: Array) -> Array:
    return spline(xp, at.spline, x)


# ---- of a row


def _softmax(xp: Namespace, at: f.Softmax, x: Array) -> Array:
    """A row in which all is masked by −∞ is 0, as exporters' guards and ONNX's Attention have it."""
    top = xp.max(x, axis=at.axis, keepdims=True)
    e = xp.exp(x - xp.where(top == -inf, 0.0, top))
    total = xp.sum(e, axis=at.axis, keepdims=True)
    return e / xp.where(total == 0, 1.0, total)


def _layer_norm(xp: Namespace, at: f.LayerNorm, x: Array, gamma: Array, beta: Array) -> Array:
    centred = x - xp.mean(x, axis=-1, keepdims=True)
    variance = xp.mean(centred**2, axis=-1, keepdims=True)
    return centred / xp.sqrt(variance + at.eps) * gamma + beta


def _rms_norm(xp: Namespace, at: f.RMSNorm, x: Array, gamma: Array) -> Array:
    return x / xp.sqrt(xp.mean(x**2, axis=-1, keepdims=True) + at.eps) * gamma


# ---- along axes


def _sum(xp: Namespace, at: f.ReduceSum, x: Array) -> Array:
    return xp.sum(x, axis=at.axes, keepdims=at.keepdims)


def _mean(xp: Namespace, at: f.ReduceMean, x: Array) -> Array:
    return xp.mean(x, axis=at.axes, keepdims=at.keepdims)


def _max(xp: Namespace, at: f.ReduceMax, x: Array) -> Array:
    return xp.max(x, axis=at.axes, keepdims=at.keepdims)


def _cumsum(xp: Namespace, at: f.CumSum, x: Array) -> Array:
    x = xp.flip(x, (at.axis,)) if at.reverse else x
    total = xp.cumsum(x, axis=at.axis)
    if at.exclusive:
        total = total - x
    return xp.flip(total, (at.axis,)) if at.reverse else total


# ---- places and shapes


def _one_hot(xp: Namespace, at: f.OneHot, ids: Array) -> Array:
    """A row of an id outside [−depth, depth) is 0."""
    return xp.astype(_counted(xp, ids, at.depth)[..., None] == xp.arange(at.depth), xp.real)


def looked_up(xp: Namespace, ids: Array, table: Array) -> Array:
    """One-hot rows of ``ids`` times ``table``, (depth, width), of which a product would read all."""
    depth = table.shape[0]
    counted = _counted(xp, ids, depth)
    inside = (counted >= 0) & (counted < depth)
    rows = xp.astype(table[xp.where(inside, counted, 0)], xp.real)
    return xp.where(inside[..., None], rows, xp.asarray(0.0, dtype=xp.real))


def _counted(xp: Namespace, ids: Array, depth: int) -> Array:
    ids = whole(xp, ids)
    return xp.where(ids < 0, ids + depth, ids)


def _gather(xp: Namespace, at: f.Gather, x: Array, indices: Array) -> Array:
    if not -x.ndim <= at.axis < x.ndim:
        raise ValueError(f"axis {at.axis} of {x.ndim}")
    return x[(slice(None),) * (at.axis % x.ndim) + (whole(xp, indices),)]


def _reshape(xp: Namespace, at: f.Reshape, x: Array) -> Array:
    return xp.reshape(x, at.shape)


def _transpose(xp: Namespace, at: f.Transpose, x: Array) -> Array:
    return xp.permute_dims(x, at.perm)


def _broadcast(xp: Namespace, at: f.Broadcast, x: Array) -> Array:
    return xp.broadcast_to(x, at.shape)


def _concat(xp: Namespace, at: f.Concat, *xs: Array) -> Array:
    return xp.concat(xs, axis=at.axis)


def ranges(
    shape: tuple[int, ...],
    starts: Sequence[int],
    ends: Sequence[int],
    axes: Sequence[int],
    steps: Sequence[int],
) -> tuple[range, ...]:
    """The places that a slice leaves, for every axis. Raises ValueError for what is no slice of the shape."""
    found = [range(n) for n in shape]
    for axis, start, end, step in zip(axes, starts, ends, steps, strict=True):
        if not -len(shape) <= axis < len(shape):
            raise ValueError(f"axis {axis} of {len(shape)}")
        n = shape[axis]
        # ONNX runs backwards down to 0 with an end far below; to Python that is an end left open
        stop = None if step < 0 and end < -n else end
        found[axis] = range(n)[slice(start, stop, step)]
    return tuple(found)


def _slice(xp: Namespace, at: f.Slice, x: Array) -> Array:
    """Backwards is forwards and then turned, since PyTorch has no negative steps."""
    places = ranges(x.shape, at.starts, at.ends, at.axes, at.steps)
    forwards = [each if each.step > 0 else each[::-1] for each in places]
    turned = tuple(i for i, each in enumerate(places) if each.step < 0)
    cut = x[tuple(slice(each.start, each.stop, each.step) for each in forwards)]
    return xp.flip(cut, turned) if turned else cut


def _without_attributes(fn: Meaning) -> Meaning:
    return lambda xp, at, *xs: fn(xp, *xs)


MEANING: dict[str, Meaning] = {
    **{name: _without_attributes(fn) for name, fn in PLAIN.items()},
    "Mod": _mod,
    "Clip": _clip,
    "Gelu": _gelu,
    "Spline": _spline,
    "Softmax": _softmax,
    "LayerNorm": _layer_norm,
    "RMSNorm": _rms_norm,
    "ReduceSum": _sum,
    "ReduceMean": _mean,
    "ReduceMax": _max,
    "CumSum": _cumsum,
    "OneHot": _one_hot,
    "Gather": _gather,
    "Reshape": _reshape,
    "Transpose": _transpose,
    "Broadcast": _broadcast,
    "Slice": _slice,
    "Concat": _concat,
    **clear.WITH_ATTRIBUTES,
}
"""One entry a function: (namespace, attributes, *operands) -> value."""
