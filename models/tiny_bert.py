"""A BERT of ten thousand seeded weights, for tests and first tries: the operators of a real one, untrained.

Run as a program it writes one:  python models/tiny_bert.py tiny.onnx
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

INPUTS = ("input_ids", "attention_mask", "token_type_ids")
OUTPUTS = ("last_hidden_state", "sentence_embedding")


@dataclass(frozen=True)
class Shape:
    """Sizes of the model; ``positions`` bounds the sequence axis, which stays open; norms add ``epsilon``."""

    layers: int = 2
    width: int = 32
    heads: int = 2
    vocabulary: int = 50
    positions: int = 64
    epsilon: float = 1e-12


@dataclass
class Builder:
    """Nodes and initializers as they are added; every method returns the name of a tensor."""

    shape: Shape
    rng: np.random.Generator
    weights_as_nodes: bool
    nodes: list[onnx.NodeProto] = field(default_factory=list)
    initializers: list[onnx.TensorProto] = field(default_factory=list)

    def node(self, op_type: str, *inputs: str, out: str, **attributes: Any) -> str:
        self.nodes.append(helper.make_node(op_type, inputs, [out], name=f"{out}/{op_type}", **attributes))
        return out

    def number(self, name: str, value: object, kind: type = np.float32) -> str:
        """A public constant, as exporters write them: a Constant node."""
        tensor = numpy_helper.from_array(np.array(value, kind), name)
        return self.node("Constant", out=name, value=tensor)

    def weight(self, name: str, *shape: int, about: float = 0.0, spread: float | None = None) -> str:
        spread = shape[0] ** -0.5 if spread is None else spread
        value = (about + spread * self.rng.standard_normal(shape)).astype(np.float32)
        if self.weights_as_nodes:
            return self.node("Constant", out=name, value=numpy_helper.from_array(value, name))
        self.initializers.append(numpy_helper.from_array(value, name))
        return name

    def dense(self, x: str, at: str, rows: int, cols: int) -> str:
        w = self.weight(f"{at}.weight", rows, cols)
        b = self.weight(f"{at}.bias", cols, spread=0.1)
        return self.node("Add", self.node("MatMul", x, w, out=f"/{at}/MatMul"), b, out=f"/{at}/Add")

    def norm(self, x: str, at: str) -> str:
        gamma = self.weight(f"{at}.gamma", self.shape.width, about=1.0, spread=0.1)
        beta = self.weight(f"{at}.beta", self.shape.width, spread=0.1)
        return self.node(
            "LayerNormalization", x, gamma, beta, out=f"/{at}/LayerNormalization", axis=-1,
            epsilon=self.shape.epsilon,
        )  # fmt: skip

    def embedding(self) -> str:
        width = self.shape.width
        words = self.node(
            "Gather",
            self.weight("words", self.shape.vocabulary, width, spread=1.0),
            "input_ids",
            out="/words/Gather",
        )
        types = self.node(
            "Gather", self.weight("types", 2, width, spread=0.3), "token_type_ids", out="/types/Gather"
        )
        length = self.node(
            "Slice", self.node("Shape", "input_ids", out="/shape"), self.number("one", [1], np.int64),
            self.number("two", [2], np.int64), out="/length",
        )  # fmt: skip
        places = self.node(
            "Slice", self.weight("places", self.shape.positions, width, spread=0.3),
            self.number("zero", [0], np.int64), length, self.number("axis", [0], np.int64),
            out="/places/Slice",
        )  # fmt: skip
        both = self.node(
            "Add", self.node("Add", words, types, out="/embeddings/Add"), places, out="/embeddings/Add_1"
        )
        return self.norm(both, "embeddings/norm")

    def mask(self) -> str:
        """0 where a token counts, -10000 where not, shape (batch, 1, 1, tokens)."""
        there = self.node("Cast", "attention_mask", out="/mask/Cast", to=TensorProto.FLOAT)
        wide = self.node(
            "Unsqueeze", there, self.number("mask_axes", [1, 2], np.int64), out="/mask/Unsqueeze"
        )
        gone = self.node("Sub", self.number("unit", 1.0), wide, out="/mask/Sub")
        return self.node("Mul", gone, self.number("low", -10000.0), out="/mask/Mul")

    def split(self, x: str, at: str, order: tuple[int, ...]) -> str:
        heads, width = self.shape.heads, self.shape.width
        shape = self.number(f"{at}.shape", [0, -1, heads, width // heads], np.int64)
        return self.node(
            "Transpose",
            self.node("Reshape", x, shape, out=f"/{at}/Reshape"),
            out=f"/{at}/Transpose",
            perm=order,
        )

    def scores(self, q: str, k: str, at: str) -> str:
        """q·kᵀ/√d of each head"""
        products = self.node(
            "MatMul", self.split(q, f"{at}/q", (0, 2, 1, 3)), self.split(k, f"{at}/k", (0, 2, 3, 1)),
            out=f"/{at}/MatMul",
        )  # fmt: skip
        root = (self.shape.width // self.shape.heads) ** 0.5
        return self.node("Div", products, self.number(f"{at}.root", root), out=f"/{at}/Div")

    def attention(self, x: str, mask: str, at: str) -> str:
        width = self.shape.width
        q, k, v = (self.dense(x, f"{at}/{name}", width, width) for name in ("query", "key", "value"))
        masked = self.node("Add", self.scores(q, k, at), mask, out=f"/{at}/Add")
        weights = self.node("Softmax", masked, out=f"/{at}/Softmax", axis=-1)
        mixed = self.node("MatMul", weights, self.split(v, f"{at}/v", (0, 2, 1, 3)), out=f"/{at}/MatMul_1")
        joined = self.node("Transpose", mixed, out=f"/{at}/Transpose", perm=(0, 2, 1, 3))
        flat = self.node(
            "Reshape", joined, self.number(f"{at}.flat", [0, -1, width], np.int64), out=f"/{at}/Reshape"
        )
        return self.dense(flat, f"{at}/output", width, width)

    def gelu(self, x: str, at: str) -> str:
        erf = self.node(
            "Erf", self.node("Div", x, self.number(f"{at}.sqrt2", 2**0.5), out=f"/{at}/Div"), out=f"/{at}/Erf"
        )
        above = self.node("Add", erf, self.number(f"{at}.one", 1.0), out=f"/{at}/Add")
        twice = self.node("Mul", x, above, out=f"/{at}/Mul")
        return self.node("Mul", twice, self.number(f"{at}.half", 0.5), out=f"/{at}/Mul_1")

    def layer(self, x: str, mask: str, at: str) -> str:
        width = self.shape.width
        mixed = self.norm(
            self.node("Add", self.attention(x, mask, f"{at}/attention"), x, out=f"/{at}/Add"), f"{at}/norm1"
        )
        inner = self.gelu(self.dense(mixed, f"{at}/up", width, 4 * width), f"{at}/gelu")
        out = self.dense(inner, f"{at}/down", 4 * width, width)
        return self.norm(self.node("Add", out, mixed, out=f"/{at}/Add_1"), f"{at}/norm2")

    def pooled(self, hidden: str, out: str = OUTPUTS[1]) -> str:
        """The mean over the tokens that count."""
        there = self.node(
            "Unsqueeze", "/mask/Cast", self.number("pool_axes", [2], np.int64), out="/pool/Unsqueeze"
        )
        kept = self.node("Mul", hidden, there, out="/pool/Mul")
        total = self.node(
            "ReduceSum", kept, self.number("tokens", [1], np.int64), out="/pool/ReduceSum", keepdims=0
        )
        count = self.node("ReduceSum", there, "tokens", out="/pool/ReduceSum_1", keepdims=0)
        return self.node("Div", total, count, out=out)


def tiny_bert(
    shape: Shape | None = None, *, seed: int = 0, weights_as_nodes: bool = False
) -> onnx.ModelProto:
    """The model: `INPUTS` of (batch, sequence) ids, `OUTPUTS` of (batch, sequence, width) and (batch, width).

    Args:
        seed: of the weights; the same seed gives the same bytes.
        weights_as_nodes: write weights as Constant nodes, as some exporters do.
    """
    shape = shape or Shape()
    make = Builder(shape, np.random.default_rng(seed), weights_as_nodes)
    x, mask = make.embedding(), make.mask()
    for i in range(shape.layers):
        x = make.layer(x, mask, f"layer.{i}")
    make.node("Identity", x, out=OUTPUTS[0])
    make.pooled(x)
    axes = ["batch", "sequence"]
    graph = helper.make_graph(
        make.nodes,
        "tiny_bert",
        [helper.make_tensor_value_info(name, TensorProto.INT64, axes) for name in INPUTS],
        [
            helper.make_tensor_value_info(OUTPUTS[0], TensorProto.FLOAT, [*axes, shape.width]),
            helper.make_tensor_value_info(OUTPUTS[1], TensorProto.FLOAT, [axes[0], shape.width]),
        ],
        make.initializers,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model)
    return model


def sample(
    tokens: int = 8, *, used: int | None = None, seed: int = 0, vocabulary: int = 50
) -> dict[str, NDArray[np.int64]]:
    """Inputs for one prompt of ``used`` tokens, padded to ``tokens``."""
    rng = np.random.default_rng(seed)
    kept = np.arange(tokens) < (tokens if used is None else used)
    return {
        "input_ids": (rng.integers(1, vocabulary, (1, tokens)) * kept).astype(np.int64),
        "attention_mask": kept[None].astype(np.int64),
        "token_type_ids": np.zeros((1, tokens), np.int64),
    }


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("output", type=Path)
    parser.add_argument("--layers", type=int, default=2)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    onnx.save(tiny_bert(Shape(layers=args.layers), seed=args.seed), args.output)
    print(f"{args.output}: try  ppc compile {args.output} -o plan.bin --seq-len 8")
