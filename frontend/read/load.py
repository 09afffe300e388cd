"""ONNX -> IR: fixed shapes, folded constants, chosen outputs."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import onnx

from ppc.frontend.errors import NotFinite, UnknownOutput, UnsupportedModel, UnsupportedOp
from ppc.frontend.ir.graph import Graph, walk_from
from ppc.frontend.ir.ops import Const, Input
from ppc.frontend.read.axes import OpenAxis, axis_lines, fixed_inputs
from ppc.frontend.read.model import read_model
from ppc.frontend.read.needed import needed, nodes_of, not_stray, read_by
from ppc.frontend.read.opened import Opened, told
from ppc.frontend.read.reader import Reader, Surveyed
from ppc.frontend.read.rounding import rounded

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Survey:
    """What ``ppc check`` starts from: every node that the outputs are made of, and those without support.

    In ``graph`` an `Opaque` stands for each of these. In place of outputs whose type is not known it has what
    was known last of that they are made of; it is None where nothing was. ``outputs`` are those looked at,
    each with the nodes that it is made of.
    """

    opset: int
    nodes: tuple[Surveyed, ...]
    unsupported: tuple[UnsupportedOp, ...]
    graph: Graph | None
    outputs: Mapping[str, frozenset[str]]


def load(
    path_or_model: str | Path | onnx.ModelProto,
    *,
    seq_len: int | None = None,
    dims: Mapping[str, int] | None = None,
    outputs: Sequence[str] | None = None,
    quiet: bool = False,
) -> Graph:
    """Read a model into IR; ``quiet`` where the user was told of it before.

    Open axes are fixed by ``dims`` (axis name, or ``input.axis``, to size), by ``seq_len`` for sequence axes,
    and to 1 for the batch. Without ``outputs`` those that do not depend on a weight are left out, because
    exporters leave inputs and masks among the outputs.

    Raises a FrontendError: UsageError for what the caller can put right by asking differently,
    UnsupportedModel with all operators that cannot be compiled, NotFinite for broken weights.
    """
    found = _loaded(path_or_model, seq_len, dims or {}, outputs)
    return (found if quiet else _logged(found)).graph


@dataclass(frozen=True)
class Told:
    """A graph, what of the model is public in it because an operator needs it so, and what its inputs' open
    axes became; the log tells both. ``rounded``: what ONNX Runtime would round to 8 bits (`rounding.py`)."""

    graph: Graph
    opened: list[Opened]
    axes: tuple[OpenAxis, ...]
    rounded: Mapping[str, int] = field(default_factory=dict)


def load_told(
    path_or_model: str | Path | onnx.ModelProto,
    *,
    seq_len: int | None = None,
    dims: Mapping[str, int] | None = None,
    outputs: Sequence[str] | None = None,
) -> Told:
    """The same, and what a user wants to know about it."""
    return _logged(_loaded(path_or_model, seq_len, dims or {}, outputs))


def _loaded(
    path_or_model: str | Path | onnx.ModelProto,
    seq_len: int | None,
    dims: Mapping[str, int],
    outputs: Sequence[str] | None,
) -> Told:
    reader, axes = _read(path_or_model, seq_len, dims, outputs)
    if reader.unsupported:
        raise UnsupportedModel(reader.unsupported)
    graph = reader.graph(reader.chosen, explicit=outputs is not None)
    _check_finite(graph)
    return Told(graph, reader.opening.found(graph), axes, rounded(reader.model.graph.node))


def _logged(found: Told) -> Told:
    for line in (*axis_lines(found.axes), *told(found.opened)):
        log.info(line)
    return found


def survey(
    path_or_model: str | Path | onnx.ModelProto,
    *,
    seq_len: int | None = None,
    dims: Mapping[str, int] | None = None,
    outputs: Sequence[str] | None = None,
) -> Survey:
    """All that ``load`` would compile, and all that it cannot; raises only UsageErrors and NotFinite."""
    reader, _ = _read(path_or_model, seq_len, dims or {}, outputs)
    known = [name for name in reader.chosen if reader.values.get(name) is not None]
    graph = reader.graph(known, explicit=outputs is not None)
    last = {
        f"{name} before {i}": op
        for name in reader.chosen
        for i, op in enumerate(reader.sources.get(name, ()))
        if not isinstance(op, Const | Input)
    }
    graph = reader.of(graph.outputs | last)
    _check_finite(graph)
    made_of = {name: nodes_of(reader.model.graph, name) for name in reader.chosen}
    found = graph if graph.outputs else None
    return Survey(reader.opset, tuple(reader.nodes), tuple(reader.unsupported), found, made_of)


def _read(
    path_or_model: str | Path | onnx.ModelProto,
    seq_len: int | None,
    dims: Mapping[str, int],
    outputs: Sequence[str] | None,
) -> tuple[Reader, tuple[OpenAxis, ...]]:
    model = read_model(path_or_model)
    there = [each.name for each in model.graph.output]
    for name in outputs or ():
        if name not in there:
            raise UnknownOutput(name, there)
    chosen = tuple(outputs or not_stray(model, there))
    wanted = needed(model.graph.node, chosen)
    inputs, axes = fixed_inputs(model, seq_len, dims, read_by(model.graph.node, wanted) | set(chosen))
    reader = Reader(model, inputs, chosen, seq_len)
    reader.run(model.graph.node, wanted)
    return reader, axes


def _check_finite(graph: Graph) -> None:
    """Weights must be finite, but for masks, which may hold −∞ beside 0."""
    broken = []
    for op in walk_from(*graph.outputs.values()):
        if not isinstance(op, Const) or op.value.dtype.kind != "f" or np.isfinite(op.value).all():
            continue
        if not set(np.unique(op.value).tolist()) <= {0.0, -math.inf}:
            broken.append(op.name or "a constant")
    if broken:
        raise NotFinite(broken)
