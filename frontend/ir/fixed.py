"""What a graph with Fixed types means in integers: the simulator.

A Fixed value is held as int64, read from its ring's symmetric interval, and every op wraps as the ring
does. A truncation rounds to nearest, where two parties may be one unit off. What is not Fixed (the client's
own arithmetic) is computed in doubles, as ``reference`` does.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ppc.frontend.ir import ops, reference
from ppc.frontend.ir.graph import Graph, IRError, Op, walk
from ppc.runtime.base import integers
from ppc.runtime.base.exact import matmul
from ppc.runtime.base.integers import rounded
from ppc.runtime.base.ring import Fixed

Array = NDArray[Any]
Ints = NDArray[np.int64]


class Overflow(IRError):
    """A value that its ring cannot hold where that matters."""


def evaluate(graph: Graph, feeds: Mapping[str, ArrayLike]) -> dict[str, Array]:
    """The outputs by name, decoded to reals. Raises Overflow where a value outgrows its ring."""
    values = evaluate_all(graph, feeds)
    return {name: decoded(op, values[op]) for name, op in graph.outputs.items()}


def evaluate_each(graph: Graph, feeds: Sequence[Mapping[str, ArrayLike]]) -> list[dict[str, Array]]:
    """The same of several sets of inputs; weights are made integers of their rings once."""
    constants = _constants(graph)
    found = (_evaluated(graph, each, constants) for each in feeds)
    return [{name: decoded(op, values[op]) for name, op in graph.outputs.items()} for values in found]


def evaluate_all(graph: Graph, feeds: Mapping[str, ArrayLike]) -> dict[Op, Array]:
    """The value of every op, Fixed ones as integers."""
    return _evaluated(graph, feeds, _constants(graph))


def _constants(graph: Graph) -> dict[Op, Array]:
    return {
        op: _signed(op.type.num, _apply(op, []))
        for op in walk(graph)
        if isinstance(op, ops.Const) and isinstance(op.type.num, Fixed)
    }


def _evaluated(
    graph: Graph, feeds: Mapping[str, ArrayLike], constants: Mapping[Op, Array]
) -> dict[Op, Array]:
    outer = Graph(graph.inputs, {})
    given = {**reference.evaluate_all(outer, feeds), **constants}
    values: dict[Op, Array] = {}
    with np.errstate(over="ignore", invalid="ignore", divide="ignore", under="ignore"):
        for op in walk(graph):
            operands = [values[each] for each in op.operands]
            if op in given:
                values[op] = given[op]
            elif isinstance(op.type.num, Fixed):
                values[op] = _signed(op.type.num, _apply(op, operands))
            else:
                values[op] = reference.apply(op, operands)
    return values


def decoded(op: Op, value: Array) -> Array:
    """The reals that an op's integers stand for."""
    return value * 2.0**-op.type.num.scale if isinstance(op.type.num, Fixed) else value


def _signed(num: Fixed, value: Array) -> Ints:
    return num.signed(num.wrap(np.ascontiguousarray(value).view(np.uint64)))


def _apply(op: Op, operands: list[Array]) -> Array:
    num = op.type.num
    assert isinstance(num, Fixed)
    match op:
        case ops.Const(value=value):
            return _encoded(op, num, value)
        case ops.Cast():
            return _encoded(op, num, operands[0])
        case ops.OneHot():
            return _encoded(op, num, reference.apply(op, operands))
        case ops.Rescale(x=x):
            return _rescaled(op, operands[0], x.type.num, num)
        case ops.Spline(x=x):
            return _spline(op, operands[0], x.type.num, num)
        case ops.MatMul():
            return matmul(operands[0], operands[1])
        case ops.Mul():
            return np.asarray(operands[0] * operands[1])
        case ops.Square():
            return np.asarray(operands[0] * operands[0])
        case ops.ReduceSum():
            return np.asarray(np.sum(operands[0], axis=op.axes, keepdims=op.keepdims, dtype=np.int64))
        case ops.Add():
            return np.asarray(operands[0] + operands[1])
        case ops.Sub():
            return np.asarray(operands[0] - operands[1])
        case ops.Neg():
            return np.asarray(-operands[0])
        case ops.ReduceMax() | ops.Reshape() | ops.Transpose() | ops.Slice() | ops.Concat() | ops.Broadcast():
            return np.asarray(reference.apply(op, operands))
        case ops.Gather():
            return np.asarray(np.take(operands[0], operands[1], axis=op.axis))
    raise IRError(f"{op!r} has no meaning in fixed point")


def _encoded(op: Op, num: Fixed, value: Array) -> Ints:
    try:
        return num.signed(num.encode(value))
    except OverflowError as error:
        raise Overflow(f"{op!r}: {error}") from None


def _rescaled(op: Op, x: Ints, old: ops.Num, new: Fixed) -> Ints:
    assert isinstance(old, Fixed)
    drop = old.scale - new.scale
    if new.bits > old.bits - drop and np.any(np.abs(x) >= 2 ** (old.bits - 2)):
        raise Overflow(f"{op!r}: a value reaches beyond what {old} can truncate")
    return rounded(x, drop)


def _spline(op: ops.Spline, x: Ints, old: ops.Num, new: Fixed) -> Ints:
    quad, spline = op.quad, op.spline
    assert isinstance(old, Fixed)
    assert quad is not None
    units = [2.0 ** (quad.scale - i * old.scale) for i in range(3)]
    return integers.spline(
        x,
        old,
        knots=[round(k * 2.0**old.scale) for k in spline.knots],
        pieces=[(round(a * units[0]), round(b * units[1]), round(c * units[2])) for a, b, c in spline.pieces],
        gates=[(index, round(slope)) for index, slope in spline.gates],
        quad=quad,
        out=new,
    )
