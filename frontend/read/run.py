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

from ppc.frontend.errors import UnknownOutput, UsageError
from ppc.frontend.read.axes import empty_caches
from ppc.frontend.read.model import read_model

Array = NDArray[Any]
Model = str | Path | onnx.ModelProto


def run(
    model: Model, feeds: Mapping[str, ArrayLike], outputs: Sequence[str] | None = None
) -> dict[str, Array]:
    """Outputs by name. ``outputs`` may name inner tensors too; None means the model's own.

    Feeds are cast to the element types that the model declares. Raises UsageError for a missing or unknown
    feed and UnknownOutput for a tensor that is not there.
    """
    proto = read_model(model)
    names = [each.name for each in proto.graph.output] if outputs is None else list(outputs)
    return _run(_showing(proto, names), feeds, names)


def all_values(
    model: Model, feeds: Mapping[str, ArrayLike], names: Sequence[str] | None = None
) -> dict[str, Array]:
    """The value of every tensor that a node makes (or of those in ``names``), by name."""
    proto = read_model(model)
    made = [name for node in proto.graph.node for name in node.output if name]
    wanted = made if names is None else [name for name in dict.fromkeys(names) if name in set(made)]
    return _run(_showing(proto, wanted), feeds, wanted)


def _showing(model: onnx.ModelProto, names: Sequence[str]) -> onnx.ModelProto:
    """The model with more of its tensors declared as outputs."""
    declared = {each.name for each in model.graph.output}
    made = {name for node in model.graph.node for name in node.output} | {
        each.name for each in model.graph.input
    }
    for name in names:
        if name not in made | declared:
            raise UnknownOutput(name, declared)
    missing = [name for name in names if name not in declared]
    if not missing:
        return model
    shown = onnx.ModelProto()
    shown.CopyFrom(model)
    shown.graph.output.extend(onnx.ValueInfoProto(name=name) for name in missing)
    return shown


def _run(model: onnx.ModelProto, feeds: Mapping[str, ArrayLike], names: list[str]) -> dict[str, Array]:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    # Fusions would drop the inner tensors that are asked for, and move the oracle.
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    kinds = {each.name: each.type for each in model.graph.input}
    needed = {each.name for each in session.get_inputs()}
    if unknown := sorted(set(feeds) - set(kinds)):
        raise UsageError(f"the model has no input {', '.join(unknown)}; it has {', '.join(sorted(needed))}")
    caches = empty_caches(model, {name: np.asarray(value) for name, value in feeds.items()})
    if missing := sorted(needed - set(feeds) - set(caches)):
        raise UsageError(f"no value for input {', '.join(missing)}")
    given = caches | {
        name: np.asarray(value).astype(helper.tensor_dtype_to_np_dtype(kinds[name].tensor_type.elem_type))
        for name, value in feeds.items()
    }
    return dict(zip(names, session.run(names, given), strict=True))
