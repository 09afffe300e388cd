"""Small models as tools leave them: onnxruntime.quantization, ONNX Runtime's optimizer, its model builder."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
from eight_bits import node
from onnx_models import DOMAIN, model, tensor
from onnxruntime.quantization import QuantType, quantize_dynamic
from small import SMALL, TOKENS

from models.tiny_bert import tiny_bert

WIDE, HEADS, SHARED, D = 32, 2, 1, 16
VOCABULARY = 50


def _drawn(random: np.random.Generator, *shape: int, spread: float = 0.2) -> np.ndarray:
    return random.normal(0, spread, shape).astype(np.float32)


def _packed(random: np.random.Generator, rows: int, inner: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Words, scales and zero points of a matrix in 4 bits, by blocks of 16."""
    blocks = inner // 16
    return (
        random.integers(0, 256, (rows, blocks, 8)).astype(np.uint8),
        np.abs(_drawn(random, rows, blocks, spread=0.03)) + np.float32(0.01),
        random.integers(100, 156, (rows, (blocks + 1) // 2)).astype(np.uint8),
    )


def decoder(accuracy: int = 0) -> onnx.ModelProto:
    """A layer of a LLaMA-like decoder as onnxruntime-genai's builder writes it, without its cache; accuracy 4
    lets ONNX Runtime round activations to 8 bits."""
    random = np.random.default_rng(21)
    floats = partial(_drawn, random)
    held: dict[str, Any] = {
        "table": floats(VOCABULARY, WIDE),
        "g0": np.abs(floats(WIDE)) + 1,
        "g1": np.abs(floats(WIDE)) + 1,
        "one": np.array([1]),
        "minus": np.array(1),
    }
    angles = np.arange(64)[:, None] * 1e4 ** (-np.arange(D // 2) / (D // 2))
    held |= {"cos": np.cos(angles).astype(np.float32), "sin": np.sin(angles).astype(np.float32)}
    nodes = [
        node("Gather", "table input_ids", "x"),
        node("ReduceSum", "attention_mask one", "sum", keepdims=0),
        node("Sub", "sum minus", "less"),
        node("Cast", "less", "last", to=onnx.TensorProto.INT32),
        node("Shape", "attention_mask", "shape"),
        node("Gather", "shape minus", "count"),
        node("Cast", "count", "total", to=onnx.TensorProto.INT32),
    ]

    def dense(x: str, out: str, inner: int, columns: int) -> None:
        for kind, value in zip("qsz", _packed(random, columns, inner), strict=True):
            held[f"{out}.{kind}"] = value
        names = f"{x} {out}.q {out}.s {out}.z"
        nodes.append(
            node(
                "MatMulNBits",
                names,
                out,
                DOMAIN,
                K=inner,
                N=columns,
                bits=4,
                block_size=16,
                accuracy_level=accuracy,
            )
        )

    def norm(x: str, by: str, gamma: str) -> None:
        nodes.append(
            helper_of_four("SkipSimplifiedLayerNormalization", [x, by, gamma], f"{by}.norm", f"{by}.sum")
        )

    nodes.append(node("SimplifiedLayerNormalization", "x g0", "n", axis=-1, epsilon=1e-5))
    dense("n", "qkv", WIDE, (HEADS + 2 * SHARED) * D)
    nodes.append(
        node(
            "GroupQueryAttention", "qkv - - - - last total cos sin", "heads k v", DOMAIN,
            num_heads=HEADS, kv_num_heads=SHARED, do_rotary=1,
        )
    )  # fmt: skip
    dense("heads", "o", HEADS * D, WIDE)
    norm("x", "o", "g1")
    dense("o.norm", "gate", WIDE, 48)
    dense("o.norm", "up", WIDE, 48)
    nodes += [node("QuickGelu", "gate", "act", DOMAIN, alpha=1.0), node("Mul", "act up", "wide")]
    dense("wide", "down", 48, WIDE)
    norm("o.sum", "down", "g0")
    dense("down.norm", "logits", WIDE, VOCABULARY)
    feeds = {name: np.zeros((1, TOKENS), np.int64) for name in ("input_ids", "attention_mask")}
    return model(nodes, feeds, ["logits"], [tensor(name, value) for name, value in held.items()])


def helper_of_four(op_type: str, inputs: list[str], out: str, total: str) -> onnx.NodeProto:
    """A norm of a sum, which gives both."""
    made = onnx.helper.make_node(op_type, inputs, [out, "", "", total], name=out, domain=DOMAIN)
    made.attribute.append(onnx.helper.make_attribute("epsilon", 1e-5))
    return made


def fused_bert() -> onnx.ModelProto:
    """A layer of a BERT as ONNX Runtime's transformers.optimizer leaves it."""
    floats = partial(_drawn, np.random.default_rng(22))
    held = {
        "words": floats(VOCABULARY, WIDE), "places": floats(64, WIDE), "kinds": floats(2, WIDE),
        "g": np.abs(floats(WIDE)) + 1, "b": floats(WIDE),
        "w": floats(WIDE, 3 * WIDE), "wb": floats(3 * WIDE),
        "o": floats(WIDE, WIDE), "ob": floats(WIDE), "up": floats(WIDE, 48), "upb": floats(48),
        "down": floats(48, WIDE), "downb": floats(WIDE),
    }  # fmt: skip
    nodes = [
        node("Cast", "input_ids", "ids", to=onnx.TensorProto.INT32),
        node("Cast", "token_type_ids", "types", to=onnx.TensorProto.INT32),
        node("Cast", "attention_mask", "mask", to=onnx.TensorProto.INT32),
        node("EmbedLayerNormalization", "ids types words places kinds g b mask", "x index", DOMAIN),
        node("Attention", "x w wb index", "heads", DOMAIN, num_heads=HEADS),
        node("MatMul", "heads o", "p"),
        node("SkipLayerNormalization", "p x g b ob", "n", DOMAIN),
        node("MatMul", "n up", "u"),
        node("BiasGelu", "u upb", "act", DOMAIN),
        node("MatMul", "act down", "d"),
        node("SkipLayerNormalization", "d n g b downb", "y", DOMAIN),
    ]
    names = ("input_ids", "token_type_ids", "attention_mask")
    feeds = {name: np.zeros((1, TOKENS), np.int64) for name in names}
    return model(nodes, feeds, ["y"], [tensor(name, value) for name, value in held.items()])


def _bert(folder: Path) -> Path:
    path = folder / "bert.onnx"
    onnx.save(tiny_bert(SMALL), path)
    return path


def quantised(folder: Path, **options: Any) -> Path:
    """BERT with weights and activations in 8 bits."""
    path = folder / "int8.onnx"
    quantize_dynamic(_bert(folder), path, **options)
    return path


def optimized(folder: Path, path: Path) -> Path:
    """A model as ONNX Runtime saves what it made of it."""
    made = folder / "optimized.onnx"
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
    options.optimized_model_filepath = str(made)
    onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    return made


def file(name: str, folder: Path) -> Path:
    """A model of the kind ``name``, one of `KINDS`."""
    match name:
        case "optimized":
            return optimized(folder, _bert(folder))
        case "8 bits":
            return quantised(folder, weight_type=QuantType.QInt8)
        case "8 bits, by columns, activations by activations":
            options = {"MatMulConstBOnly": False}
            return quantised(folder, weight_type=QuantType.QUInt8, per_channel=True, extra_options=options)
        case "8 bits, optimized":
            return optimized(folder, quantised(folder, weight_type=QuantType.QInt8))
        case "fused":
            onnx.save(fused_bert(), folder / "fused.onnx")
            return folder / "fused.onnx"
        case _:
            onnx.save(decoder(4 if "rounded" in name else 0), folder / "decoder.onnx")
            return folder / "decoder.onnx"


KINDS = {
    "optimized": 0.02,
    "8 bits": 0.05,
    "8 bits, by columns, activations by activations": 0.05,
    "8 bits, optimized": 0.08,
    "fused": 0.03,
    "decoder, 4 bits": 0.05,
}
"""What is left of the error in parts of the outputs' standard deviation, ONNX Runtime's rounding included."""
