"""A LLaMA as an ONNX file, written as PyTorch's exporters write one, of weights from anywhere.

Two forms: for whole prompts of one length (`whole`), and *with past* (`with_past`), which reads the keys and
values of earlier tokens and gives those of the new ones beside its logits, under optimum's names:

    input_ids, position_ids (1, n)   attention_mask (1, past + n)   past_key_values.I.key (1, heads, past, d)
    logits (1, n, words)             present.I.key (1, heads, past + n, d), and .value as .key

`Seeded` has weights for a small one:

    python models/llama.py decoder.onnx [--seed 0]
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

Tensor = NDArray[np.float32]

PAST = "past_sequence_length"
NEW = "sequence_length"


@dataclass(frozen=True)
class Shape:
    """Of a model; ``theta`` is of its rotary positions."""

    layers: int
    width: int
    heads: int
    kv_heads: int
    theta: float
    epsilon: float

    @property
    def head(self) -> int:
        return self.width // self.heads


class Source(Protocol):
    """Where weights come from, by GGUF's names and in the order of transformers: (out, in)."""

    shape: Shape

    def __call__(self, name: str) -> Tensor: ...

    def rotated(self, name: str, heads: int) -> Tensor:
        """q or k, whose halves turn: channel i with i + half."""


class Seeded:
    """Random weights that keep a value's size from layer to layer, and whose attention chooses."""

    def __init__(self, shape: Shape, words: int, hidden: int, seed: int = 0) -> None:
        self.shape, self._words, self._hidden = shape, words, hidden
        self._rng, self._made = np.random.default_rng(seed), dict[str, Tensor]()

    def __call__(self, name: str) -> Tensor:
        if name not in self._made:
            self._made[name] = self._draw(name).astype(np.float32)
        return self._made[name]

    def rotated(self, name: str, heads: int) -> Tensor:
        return self(name)

    def _draw(self, name: str) -> NDArray[np.float64]:
        width, hidden, kv = self.shape.width, self._hidden, self.shape.kv_heads * self.shape.head
        if "norm" in name:
            return 1 + 0.2 * self._rng.standard_normal(width)
        sizes = {"attn_k": (kv, width), "attn_v": (kv, width), "token_embd": (self._words, width)}
        sizes |= {"ffn_gate": (hidden, width), "ffn_up": (hidden, width), "ffn_down": (width, hidden)}
        out, into = next((size for key, size in sizes.items() if key in name), (width, width))
        sharp = 2.0 if "attn_q" in name or "attn_k" in name else 1.0
        drawn = self._rng.standard_normal((out, into))
        return 0.7 * drawn if "embd" in name else sharp * drawn / np.sqrt(into)


class Graph:
    """Nodes and weights as they are written."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.weights: list[onnx.TensorProto] = []

    def weight(self, name: str, value: NDArray[Any] | np.float32) -> str:
        self.weights.append(numpy_helper.from_array(np.asarray(value), name))
        return name

    def add(self, op: str, *inputs: str, name: str, **attributes: Any) -> str:
        self.nodes.append(helper.make_node(op, list(inputs), [name], name=name, **attributes))
        return name

    def model(
        self, name: str, inputs: list[onnx.ValueInfoProto], outputs: list[onnx.ValueInfoProto]
    ) -> onnx.ModelProto:
        graph = helper.make_graph(self.nodes, name, inputs, outputs, self.weights)
        return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)


def whole(source: Source, tokens: int, name: str, layers: int | None = None) -> onnx.ModelProto:
    """For prompts of ``tokens`` tokens, the first ``layers`` layers: `logits` (1, words) of the last one."""
    shape, g = source.shape, Graph()
    half = shape.head // 2
    frequencies = shape.theta ** (-np.arange(half) / half)
    angles = np.arange(tokens)[:, None] * np.concatenate([frequencies, frequencies])
    g.weight("cos", np.cos(angles).astype(np.float32))
    g.weight("sin", np.sin(angles).astype(np.float32))
    g.weight("mask", np.triu(np.full((tokens, tokens), -1e9, np.float32), 1))
    table = source("token_embd.weight")
    x, _ = _layers(g, source, table, layers, cached=False)
    x = g.add("Slice", x, "last", "end", "positions", name="last_position")
    x = norm(g, x, source("output_norm.weight"), "norm")
    x = g.add("Reshape", x, g.weight("flat", np.array([1, shape.width], np.int64)), name="last_hidden")
    g.add("MatMul", x, g.weight("lm_head", np.ascontiguousarray(table.T)), name="logits")
    return g.model(
        name,
        [helper.make_tensor_value_info("input_ids", TensorProto.INT64, [1, tokens])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, [1, len(table)])],
    )


def with_past(source: Source, name: str, layers: int | None = None) -> onnx.ModelProto:
    """With inputs for the keys and values of earlier tokens, and outputs for those with the new ones."""
    shape, g = source.shape, Graph()
    _turning(g, shape)
    _visible(g)
    table = source("token_embd.weight")
    x, presents = _layers(g, source, table, layers, cached=True)
    x = norm(g, x, source("output_norm.weight"), "norm")
    g.add("MatMul", x, g.weight("lm_head", np.ascontiguousarray(table.T)), name="logits")
    total = f"{PAST} + {NEW}"

    def cache(name: str, rows: str) -> onnx.ValueInfoProto:
        return helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, shape.kv_heads, rows, shape.head])

    return g.model(
        name,
        [
            helper.make_tensor_value_info("input_ids", TensorProto.INT64, [1, NEW]),
            helper.make_tensor_value_info("attention_mask", TensorProto.INT64, [1, total]),
            helper.make_tensor_value_info("position_ids", TensorProto.INT64, [1, NEW]),
            *(cache(each.replace("present", "past_key_values"), PAST) for each in presents),
        ],
        [
            helper.make_tensor_value_info("logits", TensorProto.FLOAT, [1, NEW, len(table)]),
            *(cache(each, total) for each in presents),
        ],
    )


def _layers(
    g: Graph, source: Source, table: Tensor, layers: int | None, *, cached: bool
) -> tuple[str, list[str]]:
    """The residual stream behind all layers, and the names of their keys and values, if they are outputs."""
    shape = source.shape
    g.weight("two", np.float32(2))
    g.weight("epsilon", np.float32(shape.epsilon))
    g.weight("scale", np.float32(shape.head**-0.5))
    places = {"zero": 0, "half": shape.head // 2, "last": -1, "end": np.iinfo(np.int64).max}
    for name, value in (places | {"positions": 1, "columns": 3}).items():
        g.weight(name, np.array([value], np.int64))
    x = g.add("Gather", g.weight("embed_tokens", table), "input_ids", name="embed")
    presents: list[str] = []
    for i in range(shape.layers if layers is None else layers):
        at = f"layers.{i}"
        h = norm(g, x, source(f"blk.{i}.attn_norm.weight"), f"{at}.input_layernorm")
        x = g.add("Add", x, attention(g, source, h, i, cached=cached), name=f"{at}.attention_sum")
        presents += [f"present.{i}.key", f"present.{i}.value"] if cached else []
        h = norm(g, x, source(f"blk.{i}.ffn_norm.weight"), f"{at}.post_attention_layernorm")
        x = g.add("Add", x, mlp(g, source, h, i), name=f"{at}.mlp_sum")
    return x, presents


def _turning(g: Graph, shape: Shape) -> None:
    """cos and sin (1, 1, n, d) of position_ids."""
    half = shape.head // 2
    frequencies = shape.theta ** (-np.arange(half) / half)
    g.weight("frequencies", frequencies.astype(np.float32).reshape(1, 1, 1, half))
    apart = g.add("Unsqueeze", "position_ids", g.weight("apart", np.array([1, 3], np.int64)), name="places")
    places = g.add("Cast", apart, name="places_as_floats", to=TensorProto.FLOAT)
    angles = g.add("Mul", places, "frequencies", name="half_angles")
    both = g.add("Concat", angles, angles, name="angles", axis=3)
    g.add("Cos", both, name="cos")
    g.add("Sin", both, name="sin")


def _visible(g: Graph) -> None:
    """mask (1, 1, n, past + n): 0 where a token sees another, before it and no padding, else −10⁹."""
    g.weight("nought", np.array(0, np.int64))
    g.weight("one", np.array(1, np.int64))
    g.weight("seen", np.float32(0))
    g.weight("unseen", np.float32(-1e9))
    g.weight("column", np.array([-1, 1], np.int64))
    g.weight("front", np.array([1, 2], np.int64))
    counts = g.add("Shape", "attention_mask", name="mask.shape")
    total = g.add("Gather", counts, "one", name="mask.total", axis=0)
    new = g.add("Gather", g.add("Shape", "input_ids", name="ids.shape"), "one", name="ids.count", axis=0)
    first = g.add("Sub", total, new, name="mask.first")
    keys = g.add("Range", "nought", total, "one", name="mask.keys")
    queries = g.add(
        "Reshape", g.add("Range", first, total, "one", name="mask.new"), "column", name="mask.queries"
    )
    ahead = g.add("Greater", keys, queries, name="mask.ahead")
    padding = g.add("Equal", "attention_mask", "nought", name="mask.padding")
    hidden = g.add(
        "Or", ahead, g.add("Unsqueeze", padding, "front", name="mask.keys_hidden"), name="mask.hidden"
    )
    g.add("Where", hidden, "unseen", "seen", name="mask")


def norm(g: Graph, x: str, gain: Tensor, name: str) -> str:
    square = g.add("Pow", x, "two", name=f"{name}.square")
    mean = g.add("ReduceMean", square, name=f"{name}.mean", axes=[-1])
    root = g.add("Sqrt", g.add("Add", mean, "epsilon", name=f"{name}.variance"), name=f"{name}.root")
    unit = g.add("Mul", x, g.add("Reciprocal", root, name=f"{name}.inverse"), name=f"{name}.unit")
    return g.add("Mul", g.weight(f"{name}.weight", gain), unit, name=name)


def linear(g: Graph, x: str, weight: Tensor, name: str) -> str:
    return g.add("MatMul", x, g.weight(f"{name}.weight", np.ascontiguousarray(weight.T)), name=name)


def heads_of(g: Graph, x: str, heads: int, head: int, name: str) -> str:
    """(1, heads, tokens, head)"""
    shape = g.weight(f"{name}.shape", np.array([1, -1, heads, head], np.int64))
    return g.add("Transpose", g.add("Reshape", x, shape, name=f"{name}.cut"), name=name, perm=[0, 2, 1, 3])


def turned(g: Graph, x: str, name: str) -> str:
    """x·cos + (−x₂, x₁)·sin"""
    first = g.add("Slice", x, "zero", "half", "columns", name=f"{name}.first")
    second = g.add("Slice", x, "half", "end", "columns", name=f"{name}.second")
    other = g.add("Concat", g.add("Neg", second, name=f"{name}.minus"), first, name=f"{name}.other", axis=3)
    straight = g.add("Mul", x, "cos", name=f"{name}.cos")
    return g.add("Add", straight, g.add("Mul", other, "sin", name=f"{name}.sin"), name=name)


def attention(g: Graph, source: Source, x: str, i: int, *, cached: bool) -> str:
    shape, at, blk = source.shape, f"layers.{i}.self_attn", f"blk.{i}"
    q = linear(g, x, source.rotated(f"{blk}.attn_q.weight", shape.heads), f"{at}.q_proj")
    k = linear(g, x, source.rotated(f"{blk}.attn_k.weight", shape.kv_heads), f"{at}.k_proj")
    v = linear(g, x, source(f"{blk}.attn_v.weight"), f"{at}.v_proj")
    q = turned(g, heads_of(g, q, shape.heads, shape.head, f"{at}.q"), f"{at}.q_turned")
    k = turned(g, heads_of(g, k, shape.kv_heads, shape.head, f"{at}.k"), f"{at}.k_turned")
    v = heads_of(g, v, shape.kv_heads, shape.head, f"{at}.v")
    if cached:
        k = g.add("Concat", f"past_key_values.{i}.key", k, name=f"present.{i}.key", axis=2)
        v = g.add("Concat", f"past_key_values.{i}.value", v, name=f"present.{i}.value", axis=2)
    k, v = repeated(g, k, shape, f"{at}.k"), repeated(g, v, shape, f"{at}.v")
    across = g.add("Transpose", k, name=f"{at}.k_across", perm=[0, 1, 3, 2])
    scores = g.add("Mul", g.add("MatMul", q, across, name=f"{at}.scores"), "scale", name=f"{at}.scaled")
    masked = g.add("Add", scores, "mask", name=f"{at}.masked")
    mixed = g.add("MatMul", g.add("Softmax", masked, name=f"{at}.softmax", axis=-1), v, name=f"{at}.mixed")
    back = g.add("Transpose", mixed, name=f"{at}.back", perm=[0, 2, 1, 3])
    flat = g.weight(f"{at}.flat", np.array([1, -1, shape.width], np.int64))
    joined = g.add("Reshape", back, flat, name=f"{at}.joined")
    return linear(g, joined, source(f"{blk}.attn_output.weight"), f"{at}.o_proj")


def repeated(g: Graph, x: str, shape: Shape, name: str) -> str:
    """Every key and value head for the queries that share it."""
    times = shape.heads // shape.kv_heads
    one = g.weight(f"{name}.one", np.array([1, shape.kv_heads, 1, -1, shape.head], np.int64))
    more = g.weight(f"{name}.more", np.array([1, 1, times, 1, 1], np.int64))
    flat = g.weight(f"{name}.heads", np.array([1, shape.heads, -1, shape.head], np.int64))
    wide = g.add("Expand", g.add("Reshape", x, one, name=f"{name}.apart"), more, name=f"{name}.wide")
    return g.add("Reshape", wide, flat, name=f"{name}.repeated")


def mlp(g: Graph, source: Source, x: str, i: int) -> str:
    at, blk = f"layers.{i}.mlp", f"blk.{i}"
    gate = linear(g, x, source(f"{blk}.ffn_gate.weight"), f"{at}.gate_proj")
    up = linear(g, x, source(f"{blk}.ffn_up.weight"), f"{at}.up_proj")
    silu = g.add("Mul", gate, g.add("Sigmoid", gate, name=f"{at}.sigmoid"), name=f"{at}.silu")
    product = g.add("Mul", silu, up, name=f"{at}.product")
    return linear(g, product, source(f"{blk}.ffn_down.weight"), f"{at}.down_proj")


SMALL = Shape(layers=2, width=32, heads=4, kv_heads=2, theta=10_000.0, epsilon=1e-5)
WORDS, HIDDEN = 96, 64


def small(seed: int = 0) -> onnx.ModelProto:
    """Two seeded layers of width 32, with past."""
    return with_past(Seeded(SMALL, WORDS, HIDDEN, seed), "decoder")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("out", type=Path)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    onnx.save(small(args.seed), args.out)


if __name__ == "__main__":
    main()
