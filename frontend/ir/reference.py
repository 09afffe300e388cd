"""What every op means over the reals: the oracle, in double precision."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ppc.frontend.ir import ops
from ppc.frontend.ir.graph import BoolType, Graph, Input, IntType, IRError, Op, walk, walk_from
from ppc.runtime.base.clear import CLEAR, erf, sigmoid, softmax

Array = NDArray[Any]


def evaluate(graph: Graph, feeds: Mapping[str, ArrayLike]) -> dict[str, Array]:
    """The outputs by name. ``feeds`` has an array of the right shape for every input.

    Raises IRError where an input is missing, unknown, or of another shape.
    """
    values = evaluate_all(graph, feeds)
    return {name: values[op] for name, op in graph.outputs.items()}


def evaluate_all(graph: Graph, feeds: Mapping[str, ArrayLike]) -> dict[Op, Array]:
    """The value of every op: floats as float64 (weights as they are kept), integers as int64, bools."""
    known = {each.name for each in graph.inputs}
    if unknown := sorted(set(feeds) - known):
        raise IRError(f"no input is called {', '.join(unknown)}; there are {', '.join(sorted(known))}")
    values: dict[Op, Array] = {}
    with np.errstate(over="ignore", invalid="ignore", divide="ignore", under="ignore"):
        for op in walk(graph):
            values[op] = (
                _fed(op, feeds) if isinstance(op, Input) else apply(op, [values[x] for x in op.operands])
            )
    return values


def constant_value(op: Op) -> Array:
    """The value of an op that depends on no input."""
    values: dict[Op, Array] = {}
    with np.errstate(over="ignore", invalid="ignore", divide="ignore", under="ignore"):
        for each in walk_from(op):
            values[each] = apply(each, [values[x] for x in each.operands])
    return values[op]


def apply(op: Op, operands: list[Array]) -> Array:
    """One op on given values of its operands."""
    meaning = MEANING.get(type(op))
    if meaning is None:
        raise IRError(f"{op!r} has no value of its own")
    try:
        value = np.asarray(meaning(op, *operands))
    except (IndexError, TypeError) as error:  # places outside a table, a function of numbers on truths
        raise IRError(f"{op!r} cannot be evaluated: {error}") from None
    if value.shape != op.type.shape:
        raise IRError(f"{op!r} evaluates to shape {value.shape}")
    return value


def _fed(op: Input, feeds: Mapping[str, ArrayLike]) -> Array:
    if op.name not in feeds:
        raise IRError(f"input {op.name} : {op.type} is missing")
    value = np.asarray(feeds[op.name])
    if value.shape != op.shape:
        raise IRError(f"input {op.name} : {op.type} was given shape {value.shape}")
    return _cast(value, op.num)


def _cast(value: Array, num: ops.Num) -> Array:
    if isinstance(num, IntType):
        return value.astype(np.int64, copy=False)
    if isinstance(num, BoolType):
        return value.astype(np.bool_, copy=False)
    return value.astype(np.float64, copy=False)


def _real(value: Array) -> Array:
    """Double precision for arithmetic; weights are kept narrower."""
    return value.astype(np.float64, copy=False) if value.dtype.kind == "f" else value


def _on_reals(fn: Callable[..., Array]) -> Callable[..., Array]:
    return lambda op, *values: fn(*(_real(value) for value in values))


def _div(a: Array, b: Array) -> Array:
    if a.dtype.kind == "i" and b.dtype.kind == "i":
        return np.asarray(np.trunc(a / b), np.int64)
    return np.asarray(a / b)


def _mod(op: ops.Mod, a: Array, b: Array) -> Array:
    return np.asarray(np.fmod(a, b) if op.fmod else np.mod(a, b))


def _clip(op: ops.Clip, x: Array) -> Array:
    kind = x.dtype.type if x.dtype.kind == "i" else np.float64
    out = _real(x)
    if op.lo is not None:
        out = np.maximum(out, kind(op.lo))
    return out if op.hi is None else np.minimum(out, kind(op.hi))


def _where(op: ops.Where, condition: Array, a: Array, b: Array) -> Array:
    return np.asarray(np.where(condition, _real(a), _real(b)))


def _softmax(op: ops.Softmax, x: Array) -> Array:
    return softmax(_real(x), op.axis)


def _layer_norm(op: ops.LayerNorm, x: Array, gamma: Array, beta: Array) -> Array:
    x = _real(x)
    centred = x - x.mean(axis=-1, keepdims=True)
    variance = np.mean(centred**2, axis=-1, keepdims=True)
    return np.asarray(centred / np.sqrt(variance + op.eps) * gamma + beta)


def _rms_norm(op: ops.RMSNorm, x: Array, gamma: Array) -> Array:
    x = _real(x)
    return np.asarray(x / np.sqrt(np.mean(x**2, axis=-1, keepdims=True) + op.eps) * gamma)


def _gelu(op: ops.Gelu, x: Array) -> Array:
    x = _real(x)
    if op.approx == "tanh":
        return np.asarray(x * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3))) / 2)
    return np.asarray(x * (1 + erf(x / math.sqrt(2))) / 2)


def _cumsum(op: ops.CumSum, x: Array) -> Array:
    x = np.flip(_real(x), op.axis) if op.reverse else _real(x)
    total = np.cumsum(x, axis=op.axis)
    if op.exclusive:
        total = total - x
    return np.flip(total, op.axis) if op.reverse else total


def _one_hot(op: ops.OneHot, ids: Array) -> Array:
    return np.asarray(np.mod(ids, op.depth)[..., None] == np.arange(op.depth), np.float64) * _inside(
        ids, op.depth
    )


def _inside(ids: Array, depth: int) -> Array:
    return np.asarray((ids >= -depth) & (ids < depth))[..., None]


def _clear(op: ops.Clear, *xs: Array) -> Array:
    return _cast(np.asarray(CLEAR[op.function](op, *(_real(x) for x in xs))), op.to)


def _slice(op: ops.Slice, x: Array) -> Array:
    cuts = op.indices()
    return x[tuple(cuts.get(axis, slice(None)) for axis in range(x.ndim))]


MEANING: dict[type[Op], Callable[..., Array]] = {
    ops.Const: lambda op: op.value,
    ops.Add: _on_reals(np.add),
    ops.Sub: _on_reals(np.subtract),
    ops.Mul: _on_reals(np.multiply),
    ops.Div: _on_reals(_div),
    ops.Mod: _mod,
    ops.Pow: _on_reals(np.power),
    ops.Max: _on_reals(np.maximum),
    ops.Min: _on_reals(np.minimum),
    ops.Equal: _on_reals(np.equal),
    ops.Less: _on_reals(np.less),
    ops.Greater: _on_reals(np.greater),
    ops.LessOrEqual: _on_reals(np.less_equal),
    ops.GreaterOrEqual: _on_reals(np.greater_equal),
    ops.And: _on_reals(np.logical_and),
    ops.Or: _on_reals(np.logical_or),
    ops.Not: _on_reals(np.logical_not),
    ops.Neg: _on_reals(np.negative),
    ops.Abs: _on_reals(np.abs),
    ops.Relu: _on_reals(lambda x: np.maximum(x, 0)),
    ops.Clip: _clip,
    ops.IsNaN: lambda op, x: np.isnan(x),
    ops.Floor: _on_reals(np.floor),
    ops.Square: _on_reals(np.square),
    ops.Cast: lambda op, x: _cast(x, op.to),
    ops.Rescale: lambda op, x: x,
    ops.Where: _where,
    ops.Sqrt: _on_reals(np.sqrt),
    ops.Exp: _on_reals(np.exp),
    ops.Erf: _on_reals(erf),
    ops.Tanh: _on_reals(np.tanh),
    ops.Sigmoid: _on_reals(sigmoid),
    ops.Reciprocal: _on_reals(lambda x: 1 / x),
    ops.Gelu: _gelu,
    ops.Silu: _on_reals(lambda x: x * sigmoid(x)),
    ops.Spline: lambda op, x: op.spline.evaluate(x),
    ops.Softmax: _softmax,
    ops.LayerNorm: _layer_norm,
    ops.RMSNorm: _rms_norm,
    ops.MatMul: _on_reals(np.matmul),
    ops.ReduceSum: lambda op, x: np.sum(_real(x), axis=op.axes, keepdims=op.keepdims),
    ops.ReduceMean: lambda op, x: np.mean(_real(x), axis=op.axes, keepdims=op.keepdims),
    ops.ReduceMax: lambda op, x: np.max(x, axis=op.axes, keepdims=op.keepdims),
    ops.CumSum: _cumsum,
    ops.Gather: lambda op, x, indices: np.take(x, indices, axis=op.axis),
    ops.OneHot: _one_hot,
    ops.Reshape: lambda op, x: x.reshape(op.shape),
    ops.Transpose: lambda op, x: x.transpose(op.perm),
    ops.Broadcast: lambda op, x: np.broadcast_to(x, op.shape),
    ops.Slice: _slice,
    ops.Concat: lambda op, *xs: np.concatenate(xs, axis=op.axis),
    ops.Clear: _clear,
}
"""One entry an op, called with the op and its operands' values."""
