"""What every op means over the reals: the oracle, in double precision.

How a function is computed stands in `runtime.base.meaning`; here is what the IR's types add to that.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ppc.frontend.ir import ops
from ppc.frontend.ir.graph import INT, BoolType, Graph, Input, IntType, IRError, Op, walk, walk_from
from ppc.runtime.base import meaning
from ppc.runtime.base.meaning import Meaning
from ppc.runtime.base.namespace import NUMPY, Namespace
from ppc.runtime.base.namespace import Array as Value

Array = NDArray[Any]


def evaluate(graph: Graph, feeds: Mapping[str, ArrayLike]) -> dict[str, Array]:
    """The outputs by name. ``feeds`` has an array of the right shape for every input.

    Raises IRError where an input is missing, unknown, or of another shape.
    """
    values = evaluate_all(graph, feeds)
    return {name: values[op] for name, op in graph.outputs.items()}


def evaluate_each(graph: Graph, feeds: Sequence[Mapping[str, ArrayLike]]) -> list[dict[str, Array]]:
    """The outputs of several sets of inputs; weights are made doubles once."""
    constants, asked = wide_constants(graph), set(graph.outputs.values())
    found = []
    for each in feeds:
        values = {op: value for op, value in values_in(NUMPY, graph, each, constants) if op in asked}
        found.append({name: values[op] for name, op in graph.outputs.items()})
    return found


def wide_constants(graph: Graph) -> dict[Op, Array]:
    """What a graph computes with, reals in double precision; of tables few rows are, once looked up."""
    computed = {x for op in walk(graph) if not _look_up(op) for x in op.operands} | {*graph.outputs.values()}
    found = (op for op in walk(graph) if isinstance(op, ops.Const))
    return {op: _real(NUMPY, op.value) if op in computed else op.value for op in found}


def evaluate_all(graph: Graph, feeds: Mapping[str, ArrayLike]) -> dict[Op, Array]:
    """The value of every op: floats as float64 (weights as they are kept), integers as int64, bools."""
    return evaluate_in(NUMPY, graph, feeds, {})


def evaluate_in(
    xp: Namespace, graph: Graph, feeds: Mapping[str, Value], given: Mapping[Op, Value]
) -> dict[Op, Value]:
    """The same in another library's arrays. ``given`` holds values to take as they are: weights to train."""
    return dict(values_in(xp, graph, feeds, given))


def values_in(
    xp: Namespace, graph: Graph, feeds: Mapping[str, Value], given: Mapping[Op, Value]
) -> Iterator[tuple[Op, Value]]:
    """The same one by one, each op after its operands; a value that nobody needs any more is let go."""
    for op, (value,) in values_of_each(xp, graph, [feeds], given):
        yield op, value


def values_of_each(
    xp: Namespace, graph: Graph, several: Sequence[Mapping[str, Value]], given: Mapping[Op, Value]
) -> Iterator[tuple[Op, list[Value]]]:
    """Of several sets of inputs, op after op; all their rows meet a matrix that is given at once."""
    known = {each.name for each in graph.inputs}
    for feeds in several:
        if unknown := sorted(set(feeds) - known):
            raise IRError(f"no input is called {', '.join(unknown)}; there are {', '.join(sorted(known))}")
    values: dict[Op, list[Value]] = {}
    indices = range(len(several))
    readers = Counter(x for op in walk(graph) for x in _look_up(op) or op.operands)
    for op in walk(graph):
        with np.errstate(over="ignore", invalid="ignore", divide="ignore", under="ignore"):
            if op in given:
                found = [given[op]] * len(several)
            elif isinstance(op, Input):
                found = [_fed(xp, op, feeds) for feeds in several]
            elif look_up := _look_up(op):
                looked_up = (meaning.looked_up(xp, *(values[x][i] for x in look_up)) for i in indices)
                found = [_real(xp, rows) for rows in looked_up]
            elif len(several) > 1 and isinstance(op, ops.MatMul) and op.b in given and op.b.type.rank == 2:
                found = _at_once(values[op.a], given[op.b], op.type.shape)
            else:
                found = [apply(op, [values[x][i] for x in op.operands], xp) for i in indices]
        yield op, found
        if readers[op]:
            values[op] = found
        for x in _look_up(op) or op.operands:
            readers[x] -= 1
            if not readers[x]:
                del values[x]


def _at_once(rows: Sequence[Array], matrix: Array, shape: tuple[int, ...]) -> list[Array]:
    together = np.concatenate([each.reshape(-1, matrix.shape[0]) for each in rows]) @ matrix
    return [each.reshape(shape) for each in np.split(together, len(rows))]


def _look_up(op: Op) -> tuple[Op, Op] | None:
    """Places and table of a product that takes rows of it."""
    match op:
        case ops.MatMul(a=ops.OneHot(ids=places), b=table) if table.type.rank == 2:
            return places, table
    return None


def constant_value(op: Op) -> Array:
    """The value of an op that depends on no input."""
    values: dict[Op, Array] = {}
    with np.errstate(over="ignore", invalid="ignore", divide="ignore", under="ignore"):
        for each in walk_from(op):
            values[each] = apply(each, [values[x] for x in each.operands])
    return values[op]


def apply(op: Op, operands: list[Value], xp: Namespace = NUMPY) -> Value:
    """One op on given values of its operands."""
    means = MEANING.get(type(op))
    if means is None:
        raise IRError(f"{op!r} has no value of its own")
    if not isinstance(op, _MOVING):
        operands = [_real(xp, x) for x in operands]
    try:
        value = xp.asarray(means(xp, op, *operands))
    except (IndexError, TypeError) as error:  # places outside a table, a function of numbers on truths
        raise IRError(f"{op!r} cannot be evaluated: {error}") from None
    if value.shape != op.type.shape:
        raise IRError(f"{op!r} evaluates to shape {value.shape}")
    return value


def _fed(xp: Namespace, op: Input, feeds: Mapping[str, Value]) -> Value:
    if op.name not in feeds:
        raise IRError(f"input {op.name} : {op.type} is missing")
    value = xp.asarray(feeds[op.name])
    if value.shape != op.shape:
        raise IRError(f"input {op.name} : {op.type} was given shape {value.shape}")
    return _cast(xp, value, op.num)


def _cast(xp: Namespace, value: Value, num: ops.Num) -> Value:
    kinds = {IntType: xp.int64, BoolType: xp.bool}
    return xp.astype(value, kinds.get(type(num), xp.real))


def _real(xp: Namespace, value: Value) -> Value:
    """Double precision for arithmetic; weights are kept narrower."""
    return xp.astype(value, xp.real) if xp.is_real(value) else value


def _divided(xp: Namespace, op: ops.Div, a: Value, b: Value) -> Value:
    if op.type.num == INT:
        return _cast(xp, meaning.MEANING["Quotient"](xp, op, a, b), INT)
    return meaning.MEANING["Div"](xp, op, a, b)


def _alone(xp: Namespace, op: ops.Clear, *xs: Value) -> Value:
    return _cast(xp, meaning.MEANING[op.function.key](xp, op.function, *xs), op.to)


_MOVING = (
    *(ops.Gather, ops.Reshape, ops.Transpose, ops.Broadcast, ops.Slice, ops.Concat, ops.Rescale),
    ops.ReduceMax,
)
"""What only moves values leaves them as narrow as they are."""

MEANING: dict[type[Op], Meaning] = {
    **{getattr(ops, name): means for name, means in meaning.MEANING.items() if name in ops.__all__},
    ops.Const: lambda xp, op: op.value,
    ops.Cast: lambda xp, op, x: _cast(xp, x, op.to),
    ops.Rescale: lambda xp, op, x: x,
    ops.Div: _divided,
    ops.Clear: _alone,
}
"""One entry an op: (namespace, op, *operands) -> value."""
