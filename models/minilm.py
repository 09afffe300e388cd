"""all-MiniLM-L6-v2 as ONNX: BERT of 6 layers of 384, mean pooling, its sum of squares made 1.

Its weights are a safetensors file in the package index (`models/requirements.txt`), written here into the
nodes of `models/tiny_bert.py`.

    python models/minilm.py all-MiniLM-L6-v2.onnx
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from safetensors.numpy import load_file

sys.path.append(str(Path(__file__).parent))

from packaged import MINILM_L6, packaged
from tiny_bert import INPUTS, Builder, Shape

OUTPUT = "sentence_embedding"
SHAPE = Shape(layers=6, width=384, heads=12, vocabulary=30522, positions=512)

_NAMES = {
    "words": "embeddings.word_embeddings.weight",
    "types": "embeddings.token_type_embeddings.weight",
    "places": "embeddings.position_embeddings.weight",
    "embeddings/norm": "embeddings.LayerNorm",
    "attention/output": "attention.output.dense",
    "attention/": "attention.self.",
    "norm1": "attention.output.LayerNorm",
    "norm2": "output.LayerNorm",
    "up": "intermediate.dense",
    "down": "output.dense",
    ".gamma": ".weight",
    ".beta": ".bias",
}


@dataclass
class _Trained(Builder):
    tensors: dict[str, NDArray[np.float32]] = field(default_factory=dict)

    def weight(self, name: str, *shape: int, about: float = 0.0, spread: float | None = None) -> str:
        held = name
        for here, there in _NAMES.items():
            held = held.replace(here, there)
        value = self.tensors[("encoder." if held.startswith("layer.") else "") + held.replace("/", ".")]
        if name.endswith(".weight"):  # of a dense layer, which PyTorch keeps as outputs by inputs
            value = np.ascontiguousarray(value.T)
        assert value.shape == shape, (name, value.shape, shape)
        self.initializers.append(numpy_helper.from_array(value, name))
        return name


def minilm_l6() -> onnx.ModelProto:
    """Inputs of (batch, sequence) ids, a mask and types; `OUTPUT` of (batch, 384), of norm 1."""
    tensors = load_file(packaged(MINILM_L6))
    make = _Trained(SHAPE, np.random.default_rng(0), False, tensors=tensors)
    x, mask = make.embedding(), make.mask()
    for i in range(SHAPE.layers):
        x = make.layer(x, mask, f"layer.{i}")
    pooled = make.pooled(x, "/pool/Div")
    norm = make.node("ReduceL2", pooled, out="/unit/ReduceL2", axes=[1], keepdims=1)
    floor = make.node("Clip", norm, make.number("tiny", 1e-12), out="/unit/Clip")
    make.node("Div", pooled, floor, out=OUTPUT)
    axes = ["batch", "sequence"]
    graph = helper.make_graph(
        make.nodes,
        "all-MiniLM-L6-v2",
        [helper.make_tensor_value_info(name, TensorProto.INT64, axes) for name in INPUTS],
        [helper.make_tensor_value_info(OUTPUT, TensorProto.FLOAT, [axes[0], SHAPE.width])],
        make.initializers,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model)
    return model


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("output", type=Path)
    args = parser.parse_args()
    onnx.save(minilm_l6(), args.output)
    print(f"{args.output}: try  ppc compile {args.output} -o plan.bin --seq-len 64")
