"""ONNX Runtime's own operators, as its optimizer and its model builder write them."""

from typing import Any

import numpy as np
from onnx_models import DOMAIN

Case = tuple[str, dict[str, np.ndarray], list[Any], dict[str, Any]]

R = np.random.default_rng(7)


def floats(*shape: int) -> np.ndarray:
    return R.normal(size=shape).astype(np.float32)


def case(op_type: str, feeds: dict[str, np.ndarray], constants: list[Any], **attributes: Any) -> Case:
    return (op_type, feeds, constants, {"domain": DOMAIN, **attributes})


# two samples of five tokens; 16 channels, in two heads or four
X, GAMMA, BETA, BIAS = floats(2, 5, 16), floats(16), floats(16), floats(16)
WQKV, BQKV = floats(16, 48) / 4, floats(48)
Q, K, V = floats(2, 5, 16), floats(2, 7, 16), floats(2, 7, 16)
ADDED, ADDED_ONE = floats(2, 2, 5, 5), floats(1, 1, 5, 7)
RAW = np.array([[1, 1, 1, 1, 1], [1, 1, 1, 0, 0]], np.int32)
RAW7 = np.array([[1, 1, 1, 1, 1, 0, 0], [0, 1, 1, 1, 1, 1, 1]], np.int32)
RAW3 = np.tril(np.ones((2, 5, 5), np.int32))
LENGTHS = np.array([5, 3], np.int32)
ENDS_STARTS = np.array([5, 4, 1, 0], np.int32)
ANGLES = R.uniform(0, 6, (9, 4)).astype(np.float32)
COS, SIN = np.cos(ANGLES), np.sin(ANGLES)
COS8, SIN8 = np.cos(ANGLES.repeat(2, 1)), np.sin(ANGLES.repeat(2, 1))
IDS, KINDS = np.array([[3, 0, 6, 1, 1], [2, 2, 5, 4, 0]], np.int32), np.array([[0, 0, 1, 1, 1]] * 2, np.int32)
PLACES = np.array([[0, 1, 2, 3, 4], [4, 3, 3, 1, 0]], np.int64)
TABLE, POSITIONS, SEGMENTS = floats(7, 16), floats(9, 16), floats(2, 16)
LAST = np.array([4], np.int32)
PROMPT = floats(1, 5, 32)
KEYS, VALUES = floats(1, 5, 16), floats(1, 5, 16)
NO_CACHE = np.zeros((1, 2, 0, 16), np.float32)
TWO, FOUR = {"num_heads": 2}, {"num_heads": 4, "kv_num_heads": 2}


def words(*shape: int) -> np.ndarray:
    return R.integers(0, 256, shape).astype(np.uint8)


def few(kind: Any, *shape: int) -> np.ndarray:
    """Whole numbers of which each product is exact."""
    low = -8 if kind is np.int8 else 0
    return R.integers(low, low + 16, shape).astype(kind)


SCALES = np.abs(floats(6, 3)) / 10
NBITS = {"K": 40, "N": 6, "block_size": 16}
WIDE = floats(2, 5, 40)

FUSED: list[Case] = [
    case("SkipLayerNormalization", {"x": X, "y": Q}, [GAMMA], epsilon=1e-3),
    case("SkipSimplifiedLayerNormalization", {"x": X, "y": Q}, [GAMMA, BIAS], epsilon=1e-3),
    case("SkipSimplifiedLayerNormalization", {"x": X, "y": Q}, [GAMMA]),
    case(
        "EmbedLayerNormalization",
        {"ids": IDS, "kinds": KINDS},
        [TABLE, POSITIONS, SEGMENTS, GAMMA, BETA, RAW],
        outputs=2,
        epsilon=1e-3,
    ),
    case(
        "EmbedLayerNormalization",
        {"ids": IDS},
        [None, TABLE, POSITIONS, None, GAMMA, BETA, None, PLACES.astype(np.int32)],
        outputs=2,
    ),
    case("Attention", {"x": X}, [WQKV, BQKV], **TWO),
    case("Attention", {"x": X, "w": WQKV, "b": BQKV, "m": RAW}, [], **TWO, mask_filter_value=-50.0),
    case("Attention", {"x": X, "w": WQKV, "b": BQKV, "m": RAW3}, [], **TWO),
    case("Attention", {"x": X, "w": WQKV, "b": BQKV, "m": LENGTHS}, [], **TWO),
    case("Attention", {"x": X, "w": WQKV, "b": BQKV, "m": ENDS_STARTS}, [], **TWO),
    case("Attention", {"x": X}, [WQKV, BQKV, None, None, ADDED], **TWO, unidirectional=1),
    case("Attention", {"x": X}, [WQKV[:, :40], BQKV[:40]], **TWO, qkv_hidden_sizes=[16, 16, 8], scale=0.3),
    case("Attention", {"x": X}, [WQKV, BQKV], **TWO, outputs=2),
    case("MultiHeadAttention", {"q": Q, "k": K, "v": V}, [BQKV], **TWO),
    case("MultiHeadAttention", {"q": Q, "k": K, "v": V, "b": BQKV, "m": RAW7}, [], **TWO),
    case("MultiHeadAttention", {"q": Q, "k": K, "v": V}, [None, None, ADDED_ONE], **TWO, scale=0.4),
    case("MultiHeadAttention", {"q": Q, "k": Q, "v": X}, [None, None, None], **TWO, unidirectional=1),
    case(
        "MultiHeadAttention",
        {"q": Q, "k": floats(2, 2, 7, 8), "v": floats(2, 2, 7, 8)},
        [],
        **TWO,
    ),
    case("MultiHeadAttention", {"q": Q, "k": K, "v": V}, [], **TWO, outputs=3),
    case("RotaryEmbedding", {"x": X, "p": PLACES}, [COS, SIN]),
    case("RotaryEmbedding", {"x": X}, [np.array([2]), COS, SIN], interleaved=1),
    case("RotaryEmbedding", {"x": floats(2, 2, 5, 8)}, [PLACES, COS, SIN]),
    case(
        "RotaryEmbedding", {"x": floats(2, 2, 5, 16)}, [PLACES, COS, SIN], num_heads=2, rotary_embedding_dim=8
    ),
    case(
        "GroupQueryAttention",
        {"q": PROMPT, "k": KEYS, "v": VALUES},
        [None, None, LAST, np.int32(5)],
        **FOUR,
        outputs=3,
    ),
    case(
        "GroupQueryAttention",
        {"q": floats(1, 5, 64), "k": floats(1, 5, 32), "v": floats(1, 5, 32)},
        [NO_CACHE, NO_CACHE, LAST, np.int32(5), COS8, SIN8],
        **FOUR,
        outputs=3,
        do_rotary=1,
    ),
    case(
        "GroupQueryAttention",
        {"q": floats(1, 5, 128)},
        [None, None, None, None, LAST, np.int32(5), COS8, SIN8, PLACES[:1] + 2],
        **FOUR,
        outputs=3,
        do_rotary=1,
        rotary_interleaved=1,
        scale=0.2,
    ),
    case(
        "GroupQueryAttention",
        {"q": PROMPT, "k": KEYS, "v": VALUES},
        [None, None, LAST, np.int32(5)],
        **FOUR,
        outputs=3,
        local_window_size=2,
        softcap=1.5,
    ),
    case("MatMulNBits", {"x": WIDE}, [words(6, 3, 8), SCALES], bits=4, **NBITS),
    case("MatMulNBits", {"x": WIDE}, [words(6, 3, 8), SCALES, words(6, 2)], bits=4, **NBITS),
    case(
        "MatMulNBits",
        {"x": WIDE},
        [words(6, 3, 8), SCALES, None, np.arange(40, dtype=np.int32) // 16 % 3],
        bits=4,
        **NBITS,
    ),
    case(
        "MatMulNBits",
        {"x": WIDE},
        [words(6, 3, 8), SCALES.ravel(), words(12), None, floats(6)],
        bits=4,
        **NBITS,
        accuracy_level=1,
    ),
    case("MatMulBnb4", {"x": WIDE}, [words(120), np.abs(floats(15))], K=40, N=6, block_size=16, quant_type=1),
    case(
        "DequantizeLinear",
        {"x": R.integers(-100, 100, (3, 4)).astype(np.int8)},
        [np.float32(0.3), np.int8(4)],
    ),
    case("DequantizeLinear", {"x": few(np.uint8, 3, 4)}, [np.float32(0.3)]),
    case("FusedMatMul", {"x": floats(2, 3, 5, 4), "y": floats(3, 5, 2, 6)}, [], transBatchA=1, transA=1),
    case("FusedMatMul", {"x": floats(3, 5, 2), "y": floats(4, 3, 5)}, [], transBatchB=1, transA=1, transB=1),
    case("FusedGemm", {"x": floats(3, 4)}, [floats(4, 5), floats(5)], activation="Relu", alpha=0.5),
    case("FusedGemm", {"x": floats(3, 4)}, [floats(5, 4)], activation="Tanh", transB=1),
    case("FusedConv", {"x": floats(1, 2, 5, 4)}, [floats(3, 2, 2, 2), floats(3)], activation="Relu"),
    ("DequantizeLinear", {"x": few(np.int8, 3, 4)}, [np.abs(floats(4)), few(np.int8, 4)], {}),
    ("DequantizeLinear", {"x": few(np.int8, 3, 4)}, [np.abs(floats(3)), few(np.int8, 3)], {"axis": 0}),
    (
        "MatMulInteger",
        {"a": few(np.uint8, 2, 3, 4)},
        [few(np.uint8, 4, 5), np.uint8(7), few(np.uint8, 5)],
        {},
    ),
    ("MatMulInteger", {"a": few(np.int8, 3, 4), "b": few(np.int8, 4, 5)}, [], {}),
    (
        "ConvInteger",
        {"x": few(np.uint8, 1, 2, 5, 4)},
        [few(np.uint8, 3, 2, 2, 2), np.uint8(6), np.uint8(9)],
        {"strides": [2, 1]},
    ),
    case(
        "MatMulIntegerToFloat",
        {"a": few(np.uint8, 3, 4)},
        [few(np.int8, 4, 5), np.float32(0.3), np.abs(floats(5)), np.uint8(8), few(np.int8, 5), floats(5)],
    ),
    ("Swish", {"x": X}, [], {"opset": 24}),
    ("Swish", {"x": X}, [], {"opset": 24, "alpha": 0.7}),
    ("Reshape", {"x": X}, [np.array([2, 80])], {"opset": 24}),
    ("Squeeze", {"x": X[:, None]}, [np.array([1])], {"opset": 25}),
    ("TopK", {"x": X}, [np.array([2])], {"opset": 24, "outputs": 2}),
]

AS_FLOATS = ("MatMulInteger", "ConvInteger")
"""Operators whose integers are floats in a plan."""

FUSED_REFUSED: list[tuple[Case, str]] = [
    (case("Attention", {"x": X}, [WQKV, BQKV, RAW[:, :3]], **TWO), "a mask"),
    (case("Attention", {"x": X}, [WQKV, BQKV, None, floats(2, 2, 2, 3, 8)], **TWO), "use_cache=False"),
    (case("Attention", {"x": X}, [WQKV, BQKV], **TWO, do_rotary=1), "by itself"),
    (case("Attention", {"x": X}, [WQKV], **TWO, qkv_hidden_sizes=[16, 16, 6]), "48 columns"),
    (case("MultiHeadAttention", {"q": Q}, [], **TWO), "not both keys and values"),
    (case("MultiHeadAttention", {"q": Q, "k": K, "v": V}, [BQKV[:9]], **TWO), "a bias"),
    (case("MultiHeadAttention", {"q": Q, "k": K, "v": V}, [], **TWO, outputs=4), "further output"),
    (
        case("GroupQueryAttention", {"q": PROMPT, "k": KEYS, "v": VALUES}, [None] * 3 + [LAST + 5], **FOUR),
        "reads a cache",
    ),
    (
        case("GroupQueryAttention", {"q": PROMPT, "k": KEYS, "v": VALUES}, [], **FOUR, smooth_softmax=1),
        "smooth softmax",
    ),
    (case("RotaryEmbedding", {"x": X}, [PLACES, COS, SIN], scale=0.5), "scales what it turns"),
    (case("MatMulNBits", {"x": WIDE, "b": words(6, 3, 8)}, [SCALES], bits=4, **NBITS), "not the model's own"),
    (case("MatMulNBits", {"x": WIDE}, [words(6, 3, 8), SCALES], bits=3, **NBITS), "does not unpack"),
    (
        ("DequantizeLinear", {"x": few(np.int8, 2, 16)}, [floats(2, 1)], {"opset": 21, "block_size": 16}),
        "by blocks",
    ),
    (("DynamicQuantizeLinear", {"x": X}, [], {"outputs": 3}), "an output of the model in 8 bits"),
    (("QuantizeLinear", {"x": X}, [np.float32(0.25), np.int8(-7)], {}), "an output of the model in 8 bits"),
    (case("FusedGemm", {"x": floats(3, 4)}, [floats(4, 5)], activation="LeakyRelu"), "ends in LeakyRelu"),
    (("Attention", {"q": Q, "k": Q, "v": Q}, [None] * 3 + [LAST], {"opset": 24, **TWO}), "7 inputs"),
]
