"""ONNX Runtime, for whoever compares with it: a model's outputs, or any tensor within."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
from numpy.typing import ArrayLike, NDArray
from onnx import helper

from ppc.frontend.errors import NotRun, UnknownOutput, UsageError
from ppc.frontend.read.caches import empty_caches
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
    return Runner(model, outputs).run(feeds)


def all_values(
    model: Model, feeds: Mapping[str, ArrayLike], names: Sequence[str] | None = None
) -> dict[str, Array]:
    """The value of every tensor that a node makes (or of those in ``names``), by name."""
    proto = read_model(model)
    made = [name for node in proto.graph.node for name in node.output if name]
    wanted = made if names is None else [name for name in dict.fromkeys(names) if name in set(made)]
    return Runner(proto, wanted).run(feeds) if wanted else {}


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


class Runner:
    """A model ready for many inputs; arguments and errors as of `run`."""

    def __init__(self, model: Model, outputs: Sequence[str] | None = None) -> None:
        self._model = read_model(model)
        declared = [each.name for each in self._model.graph.output]
        self._names = declared if outputs is None else list(outputs)
        self._shown = _showing(self._model, self._names)
        self._kinds = {each.name: each.type.tensor_type.elem_type for each in self._model.graph.input}
        set_within = {each.name for each in self._model.graph.initializer}
        self._asked = [each.name for each in self._shown.graph.input if each.name not in set_within]

    def run(self, feeds: Mapping[str, ArrayLike]) -> dict[str, Array]:
        if unknown := sorted(set(feeds) - set(self._kinds)):
            held = ", ".join(sorted(self._kinds))
            raise UsageError(f"the model has no input {', '.join(unknown)}; it has {held}")
        given = {name: np.asarray(value) for name, value in feeds.items()}
        given = empty_caches(self._model, given) | given
        if missing := sorted(set(self._asked) - set(given)):
            raise UsageError(f"no value for input {', '.join(missing)}")
        try:
            cast = {
                name: given[name].astype(helper.tensor_dtype_to_np_dtype(self._kinds[name]))
                for name in self._asked
            }
            found = self._session.run(self._names, cast)
        except (
            Exception
        ) as error:  # of classes of ONNX Runtime's own, or of numpy's where values cannot be cast
            raise NotRun(str(error)) from None
        return dict(zip(self._names, found, strict=True))

    @cached_property
    def _session(self) -> Any:
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 4
        # Fusions would drop the inner tensors that are asked for, and move the oracle.
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
        return onnxruntime.InferenceSession(
            self._shown.SerializeToString(), options, providers=["CPUExecutionProvider"]
        )
