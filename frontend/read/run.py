"""ONNX Runtime, for whoever compares with it: a model's outputs, or any tensor within."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
from numpy.typing import ArrayLike, NDArray
from onnx import helper

from ppc.frontend.errors import NotRun, UnknownOutput, UsageError
from ppc.frontend.read.axes import empty_caches
from ppc.frontend.read.model import read_model
from ppc.frontend.read.needed import needed, read_by

Array = NDArray[Any]
Model = str | Path | onnx.ModelProto


def run(
    model: Model, feeds: Mapping[str, ArrayLike], outputs: Sequence[str] | None = None
) -> dict[str, Array]:
    """Outputs by name. ``outputs`` may name inner tensors too; None means the model's own.

    Feeds are cast to the element types that the model declares. Raises UsageError for a missing or unknown
    feed, UnknownOutput for a tensor that is not there, and NotRun with what ONNX Runtime says.
    """
    proto = read_model(model)
    names = [each.name for each in proto.graph.output] if outputs is None else list(outputs)
    return _run(proto, feeds, names)


def all_values(
    model: Model, feeds: Mapping[str, ArrayLike], names: Sequence[str] | None = None
) -> dict[str, Array]:
    """The value of every tensor that a node makes (or of those in ``names``), by name."""
    proto = read_model(model)
    made = [name for node in proto.graph.node for name in node.output if name]
    wanted = made if names is None else [name for name in dict.fromkeys(names) if name in set(made)]
    return _run(proto, feeds, wanted)


def _showing(model: onnx.ModelProto, names: Sequence[str]) -> onnx.ModelProto:
    """The part of the model that these of its tensors are made of, with them as its outputs."""
    declared = {each.name: each for each in model.graph.output}
    made = {name for node in model.graph.node for name in node.output}
    made |= {each.name for each in (*model.graph.input, *model.graph.initializer)}
    for name in names:
        if name not in made | declared.keys():
            raise UnknownOutput(name, declared)
    wanted = needed(model.graph.node, names)
    read = read_by(model.graph.node, wanted) | set(names)
    shown = onnx.ModelProto()
    shown.CopyFrom(model)
    del shown.graph.node[:], shown.graph.input[:], shown.graph.output[:]
    shown.graph.node.extend(node for i, node in enumerate(model.graph.node) if i in wanted)
    shown.graph.input.extend(each for each in model.graph.input if each.name in read)
    shown.graph.output.extend(declared.get(name, onnx.ValueInfoProto(name=name)) for name in names)
    return shown


def _run(model: onnx.ModelProto, feeds: Mapping[str, ArrayLike], names: Sequence[str]) -> dict[str, Array]:
    if not names:
        return {}
    shown = _showing(model, names)
    kinds = {each.name: each.type.tensor_type.elem_type for each in model.graph.input}
    set_within = {each.name for each in model.graph.initializer}
    asked = [each.name for each in shown.graph.input if each.name not in set_within]
    if unknown := sorted(set(feeds) - set(kinds)):
        raise UsageError(f"the model has no input {', '.join(unknown)}; it has {', '.join(sorted(kinds))}")
    given = {name: np.asarray(value) for name, value in feeds.items()}
    caches = empty_caches(model, given)
    if missing := sorted(set(asked) - set(given) - set(caches)):
        raise UsageError(f"no value for input {', '.join(missing)}")
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    # Fusions would drop the inner tensors that are asked for, and move the oracle.
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    try:
        cast = {
            name: value.astype(helper.tensor_dtype_to_np_dtype(kinds[name]))
            for name, value in (caches | given).items()
            if name in asked
        }
        session = onnxruntime.InferenceSession(
            shown.SerializeToString(), options, providers=["CPUExecutionProvider"]
        )
        found = session.run(list(names), cast)
    except Exception as error:  # of classes of ONNX Runtime's own, or of numpy's where values cannot be cast
        raise NotRun(str(error)) from None
    return dict(zip(names, found, strict=True))
