"""Sentence models from trained weights: the nodes of `models/tiny_bert.py`, mean pooling, its norm made 1."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from tiny_bert import Builder

OUTPUT = "sentence_embedding"

Tensors = Mapping[str, NDArray[np.float32]]


@dataclass
class Trained(Builder):
    """Weights are those of ``tensors``; ``names`` has parts of names here with what they are called there."""

    rng: np.random.Generator = field(default_factory=np.random.default_rng)
    weights_as_nodes: bool = False
    tensors: Tensors = field(default_factory=dict)
    names: Mapping[str, str] = field(default_factory=dict)

    def weight(self, name: str, *shape: int, about: float = 0.0, spread: float | None = None) -> str:
        held = name
        for here, there in self.names.items():
            held = held.replace(here, there)
        value = self.tensors[held.replace("/", ".")]
        if name.endswith(".weight"):  # of a dense layer, which PyTorch keeps as outputs by inputs
            value = np.ascontiguousarray(value.T)
        assert value.shape == shape, (name, value.shape, shape)
        self.initializers.append(numpy_helper.from_array(value, name))
        return name


def sentence_model(make: Trained, title: str, inputs: Sequence[str]) -> onnx.ModelProto:
    """``inputs`` of (batch, sequence) whole numbers; `OUTPUT` of (batch, width), of norm 1."""
    x, mask = make.embedding(), make.mask()
    for i in range(make.shape.layers):
        x = make.layer(x, mask, f"layer.{i}")
    pooled = make.pooled(x, "/pool/Div")
    norm = make.node("ReduceL2", pooled, out="/unit/ReduceL2", axes=[1], keepdims=1)
    floor = make.node("Clip", norm, make.number("tiny", 1e-12), out="/unit/Clip")
    make.node("Div", pooled, floor, out=OUTPUT)
    axes = ["batch", "sequence"]
    graph = helper.make_graph(
        make.nodes,
        title,
        [helper.make_tensor_value_info(name, TensorProto.INT64, axes) for name in inputs],
        [helper.make_tensor_value_info(OUTPUT, TensorProto.FLOAT, [axes[0], make.shape.width])],
        make.initializers,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model)
    return model
