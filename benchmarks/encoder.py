"""A BERT encoder of seeded weights as ONNX, the same that `spu_encoder` runs under SPU.

    python benchmarks/encoder.py OUT.onnx --shape base|minilm [--layers 1] [--lookup 30522]

Without ``lookup`` its input ``x`` is what an embedding would give, drawn from a normal distribution.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

Floats = NDArray[np.float32]
Feeds = dict[str, NDArray[Any]]


@dataclass(frozen=True)
class Encoder:
    """Sizes of the model. With ``lookup`` its input is that many rows' worth of token ids; ``masked``: a
    second input has 1 for tokens that are there."""

    hidden: int
    heads: int
    ffn: int
    tokens: int
    layers: int = 1
    lookup: int = 0
    activation: str = "gelu"
    attention: str = "softmax"
    masked: bool = False

    def __str__(self) -> str:
        table = f", look-up of {self.lookup}" if self.lookup else ""
        return f"{self.layers} x ({self.hidden}, {self.heads} heads, {self.ffn}), {self.tokens} tokens{table}"


BASE = Encoder(768, 12, 3072, 128)
MINILM = Encoder(384, 12, 1536, 64)
SHAPES = {"base": BASE, "minilm": MINILM}
BERT_BASE = replace(BASE, layers=12, lookup=30522)

OUTPUT = "last_hidden_state"


def draw(encoder: Encoder) -> tuple[list[dict[str, Floats]], Floats]:
    """The weights of each layer, and an input (tokens, hidden)."""
    rng, d, f = np.random.default_rng(0), encoder.hidden, encoder.ffn

    def w(rows: int, cols: int) -> Floats:
        drawn: Floats = (rng.standard_normal((rows, cols)) * 0.5 / np.sqrt(rows)).astype(np.float32)
        return drawn

    shapes = {"wq": (d, d), "wk": (d, d), "wv": (d, d), "wo": (d, d), "w1": (d, f), "w2": (f, d)}
    layers = [{name: w(*shape) for name, shape in shapes.items()} for _ in range(encoder.layers)]
    return layers, rng.standard_normal((encoder.tokens, d)).astype(np.float32)


def feeds(encoder: Encoder, seed: int | None = None) -> Feeds:
    """An input; without ``seed`` the one that goes with the weights."""
    rng = np.random.default_rng(1 if seed is None else 1000 + seed)
    if encoder.lookup:
        found: Feeds = {"input_ids": rng.integers(0, encoder.lookup, encoder.tokens)}
    elif seed is None:
        found = {"x": draw(encoder)[1]}
    else:
        found = {"x": rng.standard_normal((encoder.tokens, encoder.hidden)).astype(np.float32)}
    if encoder.masked:
        there = encoder.tokens if not seed else int(rng.integers(2, encoder.tokens))
        found["mask"] = (np.arange(encoder.tokens) < there).astype(np.int64)
    return found


@dataclass
class _Graph:
    nodes: list[onnx.NodeProto] = field(default_factory=list)
    initializers: list[onnx.TensorProto] = field(default_factory=list)

    def op(self, kind: str, *inputs: str, out: str, **attributes: Any) -> str:
        self.nodes.append(helper.make_node(kind, list(inputs), [out], name=out, **attributes))
        return out

    def const(self, name: str, value: object, kind: Any = np.float32) -> str:
        self.initializers.append(numpy_helper.from_array(np.asarray(value, kind), name))
        return name


def build(encoder: Encoder) -> onnx.ModelProto:
    """The encoder as an ONNX model of opset 17."""
    e, g = encoder, _Graph()
    d = e.hidden
    g.const("heads", [e.tokens, e.heads, d // e.heads], np.int64)
    g.const("flat", [e.tokens, d], np.int64)
    for name, value in {"root": np.sqrt(d // e.heads), "two": np.sqrt(2), "one": 1, "half": 0.5}.items():
        if name == "root" or e.activation == "gelu":
            g.const(name, value)
    if e.attention == "relu":
        g.const("last", [-1], np.int64)
        g.const("epsilon", 1e-2)
    g.const("gamma", np.ones(d))
    g.const("beta", np.zeros(d))
    if e.masked:
        _mask(g)
    x = _embedded(g, e) if e.lookup else "x"
    for i, weights in enumerate(draw(e)[0]):
        at = f"/encoder/layer.{i}"
        for name, value in weights.items():
            g.const(f"layer.{i}.{name}", value)
        x = _attention(g, e, x, at, f"layer.{i}")
        h = _activation(
            g, e, g.op("MatMul", x, f"layer.{i}.w1", out=f"{at}/ffn/up"), f"{at}/ffn/{e.activation}"
        )
        y = g.op("Add", x, g.op("MatMul", h, f"layer.{i}.w2", out=f"{at}/ffn/down"), out=f"{at}/ffn/sum")
        x = _norm(g, y, OUTPUT if i == e.layers - 1 else f"{at}/ffn/norm")
    name, kind, shape = ("input_ids", TensorProto.INT64, [e.tokens]) if e.lookup else (
        "x", TensorProto.FLOAT, [e.tokens, d]
    )  # fmt: skip
    inputs = [helper.make_tensor_value_info(name, kind, shape)]
    if e.masked:
        inputs.append(helper.make_tensor_value_info("mask", TensorProto.INT64, [e.tokens]))
    graph = helper.make_graph(
        g.nodes,
        "encoder",
        inputs,
        [helper.make_tensor_value_info(OUTPUT, TensorProto.FLOAT, [e.tokens, d])],
        g.initializers,
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)


def _embedded(g: _Graph, e: Encoder) -> str:
    rng = np.random.default_rng(2)
    g.const("embeddings.word", 0.5 * rng.standard_normal((e.lookup, e.hidden)))
    g.const("embeddings.position", 0.5 * rng.standard_normal((e.tokens, e.hidden)))
    words = g.op("Gather", "embeddings.word", "input_ids", out="/embeddings/word")
    return _norm(g, g.op("Add", words, "embeddings.position", out="/embeddings/sum"), "/embeddings/norm")


def _mask(g: _Graph) -> str:
    g.const("whole", 1)
    g.const("low", -10000)
    there = g.op("Cast", "mask", out="/mask/there", to=TensorProto.FLOAT)
    return g.op("Mul", g.op("Sub", "whole", there, out="/mask/gone"), "low", out="/mask/low")


def _attention(g: _Graph, e: Encoder, x: str, at: str, weights: str) -> str:
    def part(name: str) -> str:
        flat = g.op("MatMul", x, f"{weights}.w{name}", out=f"{at}/attention/{name}")
        split = g.op("Reshape", flat, "heads", out=f"{at}/attention/{name}/heads")
        return g.op("Transpose", split, out=f"{at}/attention/{name}/turned", perm=[1, 0, 2])

    q, k, v = part("q"), part("k"), part("v")
    k = g.op("Transpose", k, out=f"{at}/attention/k/across", perm=[0, 2, 1])
    scores = g.op("MatMul", q, k, out=f"{at}/attention/qk")
    scores = g.op("Div", scores, "root", out=f"{at}/attention/scores")
    if e.masked:
        scores = g.op("Add", scores, "/mask/low", out=f"{at}/attention/masked")
    if e.attention == "softmax":
        p = g.op("Softmax", scores, out=f"{at}/attention/softmax", axis=-1)
    else:
        r = g.op("Relu", scores, out=f"{at}/attention/relu")
        total = g.op("ReduceSum", r, "last", out=f"{at}/attention/total", keepdims=1)
        total = g.op("Add", total, "epsilon", out=f"{at}/attention/positive")
        p = g.op("Div", r, total, out=f"{at}/attention/normal")
    o = g.op("Transpose", g.op("MatMul", p, v, out=f"{at}/attention/pv"), out=f"{at}/attention/pv/turned",
             perm=[1, 0, 2])  # fmt: skip
    o = g.op("Reshape", o, "flat", out=f"{at}/attention/pv/flat")
    o = g.op("MatMul", o, f"{weights}.wo", out=f"{at}/attention/out")
    return _norm(g, g.op("Add", x, o, out=f"{at}/attention/sum"), f"{at}/attention/norm")


def _activation(g: _Graph, e: Encoder, h: str, out: str) -> str:
    if e.activation == "relu":
        return g.op("Relu", h, out=out)
    inner = g.op("Erf", g.op("Div", h, "two", out=f"{out}/scaled"), out=f"{out}/erf")
    product = g.op("Mul", h, g.op("Add", inner, "one", out=f"{out}/plus"), out=f"{out}/product")
    return g.op("Mul", product, "half", out=out)


def _norm(g: _Graph, x: str, out: str) -> str:
    return g.op("LayerNormalization", x, "gamma", "beta", out=out, epsilon=1e-5, axis=-1)


def write(encoder: Encoder, path: Path) -> Path:
    model = build(encoder)
    onnx.save(model, path)
    return path


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("out", type=Path)
    parser.add_argument("--shape", choices=SHAPES, default="base")
    parser.add_argument("--layers", type=int, default=1)
    parser.add_argument("--lookup", type=int, default=0, help="rows of a private embedding table")
    args = parser.parse_args()
    encoder = replace(SHAPES[args.shape], layers=args.layers, lookup=args.lookup)
    write(encoder, args.out)
    np.savez(args.out.with_suffix(".npz"), **feeds(encoder))  # type: ignore[arg-type]
    print(f"{args.out}  {encoder}")


if __name__ == "__main__":
    main()
