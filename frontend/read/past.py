"""Decoders *with past*: which outputs are read again as inputs, and the graph of a run that carries them on.

An input is a cache if an axis of it counts tokens that were seen before (`caches.is_cache`); the output of
its continuation has the same name behind the first word:

    past_key_values.0.key -> present.0.key, present_key_values.0.key      past_0 -> present_0
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from ppc.frontend.errors import UsageError
from ppc.frontend.ir.graph import Graph, Input, Op, rebuild, walk
from ppc.frontend.ir.ops import Const, Slice
from ppc.frontend.read.caches import cache_axes


@dataclass(frozen=True)
class Carried:
    """An input that earlier runs leave, the output that continues it, and the axis of its rows with its
    name."""

    input: str
    output: str
    axis: int
    axis_name: str


def carried(model: onnx.ModelProto) -> tuple[Carried, ...]:
    """The caches of a model. Raises UsageError, with what there is, where it has none or one has no
    output."""
    outputs = [each.name for each in model.graph.output]
    found = []
    for name, (axis, axis_name) in cache_axes(model).items():
        wanted = [re.sub(r"^past(_key_values)?", word, name) for word in PRESENT]
        output = next((each for each in wanted if each in outputs), None)
        if output is None:
            raise UsageError(
                f"input {name} is a cache, but no output continues it; there is no {' or '.join(wanted)}"
            )
        found.append(Carried(name, output, axis, axis_name))
    if not found:
        raise UsageError(
            "the model takes no cache, an input past_key_values… with an axis past_…, which generating "
            "needs; export it with past"
        )
    return tuple(found)


def short_axes(model: onnx.ModelProto, pairs: Sequence[Carried], masks: Sequence[str]) -> list[str]:
    """Axes of ``masks``, as input.axis, that count rows and new tokens though their names do not say so: a
    merged decoder has those of its branch for the first tokens."""
    rows = {each.axis_name for each in pairs}
    return [
        f"{each.name}.{i}"
        for each in model.graph.input
        if each.name in masks
        for i, axis in enumerate(each.type.tensor_type.shape.dim)
        if i and not axis.dim_value and not any(name in axis.dim_param for name in rows)
    ]


PRESENT = ("present", "present_key_values", "present_key")


def carrying(graph: Graph, pairs: Sequence[Carried], new: int) -> Graph:
    """The graph whose caches neither party knows, and whose outputs are the ``new`` rows, under the names of
    the inputs to which they are added. Of all others the last of several rows is left: it chooses the next
    token."""
    names = {each.input for each in pairs}

    def marked(op: Op) -> Op:
        return replace(op, carried=True) if isinstance(op, Input) and op.name in names else op

    outputs = dict(graph.outputs)
    rows = {each.input: _last(outputs.pop(each.output), each.axis, new) for each in pairs}
    told = {name: _last(op, 1, 1) if op.type.rank == 3 else op for name, op in outputs.items()}
    return rebuild(replace(graph, outputs={**told, **rows}), marked)


def counting(graph: Graph, names: Collection[str]) -> Graph:
    """The graph of one more row whose inputs of these ``names`` are the number of those that there are."""

    def marked(op: Op) -> Op:
        return replace(op, counted=True) if isinstance(op, Input) and op.name in names else op

    return rebuild(graph, marked)


def known(graph: Graph, values: Mapping[Input, NDArray[Any]]) -> Graph:
    """The graph with numbers that both may know in place of inputs, in the shape that these have."""
    new: dict[Op, Op] = {}
    for op in walk(graph):
        if isinstance(op, Input) and op in values:
            new[op] = Const(np.broadcast_to(values[op], op.shape))
        else:
            new[op] = op.replace(new[each] for each in op.operands)
    inputs = tuple(each for each in graph.inputs if each not in values)
    return replace(graph, inputs=inputs, outputs={name: new[op] for name, op in graph.outputs.items()})


def _last(op: Op, axis: int, count: int) -> Op:
    size = op.type.shape[axis]
    return op if size == count else Slice(op, (size - count,), (size,), (axis,), (1,), name=op.name)
