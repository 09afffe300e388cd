"""Small models with activations in 8 bits, as onnxruntime.quantization and its optimizer write them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper
from onnx_models import DOMAIN, model, tensor

R = np.random.default_rng(5)
X = R.normal(size=(2, 6, 16)).astype(np.float32)
IMAGE = R.normal(size=(1, 3, 8, 8)).astype(np.float32)
W = R.integers(-127, 128, (16, 12)).astype(np.int8)
U = R.integers(0, 256, (16, 12)).astype(np.uint8)
COLUMNS = (np.abs(R.normal(size=12)) / 50).astype(np.float32)
BIAS = R.normal(size=12).astype(np.float32)
KERNEL = R.integers(0, 256, (5, 3, 2, 2)).astype(np.uint8)
MASK = np.array([[1] * 6, [1, 1, 1, 1, 0, 0]], np.int32)
SCALE = np.float32(0.013)


@dataclass(frozen=True)
class Rounded:
    """A model, its inputs, and which operators it is a case of."""

    proto: onnx.ModelProto
    feeds: dict[str, np.ndarray]
    operators: tuple[str, ...]


def node(op_type: str, inputs: str, outputs: str, domain: str = "", **attributes: Any) -> onnx.NodeProto:
    """Inputs and outputs as words; - is one left out."""
    names = ["" if each == "-" else each for each in inputs.split()]
    return helper.make_node(
        op_type, names, outputs.split(), name=f"{op_type}_{outputs}", domain=domain, **attributes
    )


def built(feeds: dict[str, np.ndarray], nodes: list[onnx.NodeProto], **held: Any) -> Rounded:
    operators = tuple(f"{each.domain}." * bool(each.domain) + each.op_type for each in nodes)
    initializers = [tensor(name, value) for name, value in held.items()]
    return Rounded(model(nodes, feeds, ["y"], initializers), feeds, operators)


DYNAMIC = node("DynamicQuantizeLinear", "x", "q s z")
PRODUCT = node("MatMulInteger", "q w z", "i")
FLOAT = node("Cast", "i", "f", to=TensorProto.FLOAT)

MODELS: dict[str, Rounded] = {
    "a product, as quantize_dynamic writes it": built(
        {"x": X},
        [
            DYNAMIC,
            node("Mul", "s ws", "both"),
            node("MatMulInteger", "q w z wz", "i"),
            FLOAT,
            node("Mul", "f both", "p"),
            node("Add", "p b", "y"),
        ],
        w=W, ws=SCALE, wz=np.int8(0), b=BIAS,
    ),
    "a scale and a zero point a column, one after the other": built(
        {"x": X},
        [
            DYNAMIC,
            node("MatMulInteger", "q w z wz", "i"),
            FLOAT,
            node("Mul", "f s", "half"),
            node("Mul", "half ws", "y"),
        ],
        w=U, ws=COLUMNS, wz=R.integers(100, 150, 12).astype(np.uint8),
    ),
    "rounded once, read twice": built(
        {"x": X},
        [
            DYNAMIC,
            node("MatMulInteger", "q w z wz", "i"),
            node("MatMulInteger", "q v z wz", "j"),
            FLOAT,
            node("Cast", "j", "g", to=TensorProto.FLOAT),
            node("Add", "f g", "sum"),
            node("Mul", "sum s", "scaled"),
            node("Mul", "scaled ws", "y"),
        ],
        w=W, v=W[:, ::-1].copy(), ws=SCALE, wz=np.int8(3),
    ),
    "two activations": built(
        {"x": X},
        [
            DYNAMIC,
            node("Transpose", "x", "t", perm=[0, 2, 1]),
            node("DynamicQuantizeLinear", "t", "r u v"),
            node("MatMulInteger", "q r z v", "i"),
            FLOAT,
            node("Mul", "s u", "both"),
            node("Mul", "f both", "p"),
            node("MatMul", "p m", "y"),
        ],
        m=R.normal(size=(6, 4)).astype(np.float32),
    ),
    "a convolution": built(
        {"x": IMAGE},
        [
            DYNAMIC,
            node("ConvInteger", "q w z wz", "i", strides=[2, 2]),
            FLOAT,
            node("Mul", "s ws", "both"),
            node("Mul", "f both", "y"),
        ],
        w=KERNEL, ws=SCALE, wz=np.uint8(121),
    ),
    "dequantized at once": built(
        {"x": X},
        [DYNAMIC, node("DequantizeLinear", "q s z", "p"), node("MatMul", "p m", "y")],
        m=R.normal(size=(16, 4)).astype(np.float32),
    ),
    "fused": built(
        {"x": X}, [node("DynamicQuantizeMatMul", "x w ws wz b", "y", DOMAIN)],
        w=W, ws=COLUMNS, wz=R.integers(-9, 9, 12).astype(np.int8), b=BIAS,
    ),
    "fused, without zero point and bias": built(
        {"x": X}, [node("DynamicQuantizeMatMul", "x w ws", "y", DOMAIN)], w=W, ws=SCALE,
    ),
    "half fused": built(
        {"x": X}, [DYNAMIC, node("MatMulIntegerToFloat", "q w s ws z wz b", "y", DOMAIN)],
        w=U, ws=SCALE, wz=np.uint8(130), b=BIAS,
    ),
    "attention": built(
        {"x": X, "m": MASK},
        [DYNAMIC, node("QAttention", "q w b s ws m z wz", "y", DOMAIN, num_heads=2)],
        w=R.integers(-127, 128, (16, 48)).astype(np.int8), ws=np.float32(0.004), wz=np.int8(0),
        b=R.normal(size=48).astype(np.float32),
    ),
    "static, around a product": built(
        {"x": X},
        [
            node("QuantizeLinear", "x s z", "q"),
            node("DequantizeLinear", "q s z", "d"),
            node("DequantizeLinear", "w ws", "v"),
            node("MatMul", "d v", "p"),
            node("QuantizeLinear", "p t u", "r"),
            node("DequantizeLinear", "r t u", "y"),
        ],
        s=np.float32(0.031), z=np.uint8(125), w=W, ws=SCALE, t=np.float32(0.15), u=np.uint8(128),
    ),
    "static, a scale a column, moved between": built(
        {"x": X},
        [
            node("QuantizeLinear", "x s z", "q", "com.microsoft", axis=2),
            node("DequantizeLinear", "q s z", "d", "com.microsoft", axis=2),
            node("QuantizeLinear", "d t", "r"),
            node("Transpose", "r", "v"),
            node("DequantizeLinear", "v t", "y"),
        ],
        s=np.linspace(0.03, 0.035, 16, dtype=np.float32), z=np.full(16, 127, np.uint8), t=np.float32(0.03),
    ),
    "static, product in 8 bits": built(
        {"x": X},
        [
            node("QuantizeLinear", "x s z", "q"),
            node("QLinearMatMul", "q s z w ws wz t u", "r"),
            node("DequantizeLinear", "r t u", "y"),
        ],
        s=np.float32(0.031), z=np.uint8(125), w=U, ws=SCALE, wz=np.uint8(127), t=np.float32(0.15),
        u=np.uint8(128),
    ),
}  # fmt: skip

ROUNDED = (
    "QuantizeLinear",
    "com.microsoft.QuantizeLinear",
    "DynamicQuantizeLinear",
    "QLinearMatMul",
    "com.microsoft.DynamicQuantizeMatMul",
    "com.microsoft.QAttention",
)
"""Operators that are tested here alone: by themselves they give what plans do not have."""

APART: dict[str, Rounded] = {
    "without its scale": built(
        {"x": X},
        [DYNAMIC, node("MatMulInteger", "q w z", "i"), FLOAT, node("Mul", "f ws", "y")],
        w=W, ws=SCALE,
    ),
    "without its zero point": built(
        {"x": X}, [DYNAMIC, node("MatMulInteger", "q w", "i"), FLOAT, node("Mul", "f s", "y")], w=W
    ),
    "scale twice": built(
        {"x": X},
        [DYNAMIC, node("DequantizeLinear", "q s z", "p"), node("Mul", "p s", "y")],
    ),
    "another's scale": built(
        {"x": X, "o": X},
        [
            DYNAMIC,
            node("DynamicQuantizeLinear", "o", "q2 s2 z2"),
            node("MatMulInteger", "q w z", "i"),
            FLOAT,
            node("Mul", "f s2", "p"),
            node("Add", "p ws", "y"),
        ],
        w=W, ws=SCALE,
    ),
    "another's zero point": built(
        {"x": X, "o": X},
        [
            DYNAMIC,
            node("DynamicQuantizeLinear", "o", "q2 s2 z2"),
            node("MatMulInteger", "q w z2", "i"),
            FLOAT,
            node("Mul", "f s", "y"),
        ],
        w=W,
    ),
    "through a function": built(
        {"x": X},
        [DYNAMIC, PRODUCT, FLOAT, node("Relu", "f", "r"), node("Mul", "r s", "y")],
        w=W,
    ),
    "a sum with what has its scale": built(
        {"x": X},
        [DYNAMIC, PRODUCT, FLOAT, node("Add", "f b", "g"), node("Mul", "g s", "y")],
        w=W, b=BIAS,
    ),
}  # fmt: skip
"""What has no meaning in floats: a value read without its scale."""
