"""Each ONNX operator in a model of one node: what is compiled, and what is refused with a reason."""

from typing import Any

import numpy as np
import onnxruntime
from fused_cases import FUSED, FUSED_REFUSED
from onnx import TensorProto
from onnx_models import DOMAIN

R = np.random.default_rng(1)
X = R.normal(size=(2, 3, 4)).astype(np.float32)
Y = R.normal(size=(2, 3, 4)).astype(np.float32)
ROW = R.normal(size=(4,)).astype(np.float32)
POSITIVE = np.abs(X) + np.float32(0.1)
IDS = np.array([[0, 2, 1], [1, -1, 0]], np.int64)
BOOL = X > 0
OTHER = Y > 0
M = R.normal(size=(3, 4)).astype(np.float32)
W = R.normal(size=(4, 5)).astype(np.float32)


def f(value: float) -> np.ndarray:
    return np.asarray(value, np.float32)


def i(*values: int) -> np.ndarray:
    return np.asarray(values, np.int64)


Q4, K4, V4 = (R.normal(size=(2, heads, 5, 6)).astype(np.float32) for heads in (4, 2, 2))
ANGLES = R.uniform(0, 6, (2, 5, 3)).astype(np.float32)
COS, SIN = np.cos(ANGLES), np.sin(ANGLES)
ADDING = {"reduction": "add", "opset": 18}
KEPT = np.tri(5, dtype=np.bool_)[None, None] & (np.arange(5) < 4)
IMAGE = R.normal(size=(2, 4, 6, 9)).astype(np.float32)
KERNEL = R.normal(size=(6, 4, 2, 3)).astype(np.float32)
SIX = R.normal(size=6).astype(np.float32)
UNIT = (X / 10).astype(np.float32)


def einsum(equation: str, *operands: np.ndarray, constants: int = 0) -> "Case":
    given = {"abcd"[i]: each for i, each in enumerate(operands[: len(operands) - constants])}
    return ("Einsum", given, list(operands[len(operands) - constants :]), {"equation": equation})


Case = tuple[str, dict[str, np.ndarray], list[Any], dict[str, Any]]

CASES: list[Case] = [
    *((name, {"x": X, "y": Y}, [], {}) for name in ("Add", "Sub", "Mul", "Div", "Max", "Min", "Sum", "Mean")),
    *((name, {"x": X, "y": Y}, [], {}) for name in ("Less", "Greater", "LessOrEqual", "GreaterOrEqual")),
    *((name, {"x": BOOL, "y": OTHER}, [], {}) for name in ("And", "Or", "Xor", "Equal")),
    *((name, {"x": X}, [], {}) for name in ("Neg", "Abs", "Floor", "Exp", "Erf", "Tanh", "Sigmoid", "Relu")),
    *((name, {"x": X}, [], {}) for name in ("Sign", "LeakyRelu", "HardSigmoid", "HardSwish", "Identity")),
    *((name, {"x": POSITIVE}, [], {}) for name in ("Sqrt", "Reciprocal")),
    ("Div", {"x": np.array([7, -7, 8]), "y": np.array([2, 2, -3])}, [], {}),
    ("Mod", {"x": np.array([7, -7, 8]), "y": np.array([3, 3, -3])}, [], {}),
    ("Mod", {"x": X}, [f(0.7)], {"fmod": 1}),
    ("Pow", {"x": POSITIVE}, [f(2.5)], {}),
    ("Pow", {"x": X}, [i(3)], {}),
    ("Max", {"x": X}, [f(0.1), f(-3)], {}),
    ("Not", {"x": BOOL}, [], {}),
    ("IsNaN", {"x": np.where(BOOL, X, np.nan).astype(np.float32)}, [], {}),
    ("PRelu", {"x": X}, [ROW], {}),
    ("LeakyRelu", {"x": X}, [], {"alpha": 0.3}),
    ("HardSigmoid", {"x": X}, [], {"alpha": 0.3, "beta": 0.4}),
    ("Clip", {"x": X}, [f(-0.5), f(0.5)], {}),
    ("Clip", {"x": X}, [None, f(0.5)], {}),
    ("Clip", {"x": X}, [f(0.1)], {}),
    ("Clip", {"x": X}, [], {}),
    ("Clip", {"x": X, "lo": f(0.3)}, [], {}),
    ("Clip", {"x": IDS}, [np.int64(0), np.int64(1)], {}),
    ("Gelu", {"x": X}, [], {"opset": 20}),
    ("Gelu", {"x": X}, [], {"opset": 20, "approximate": "tanh"}),
    ("Softmax", {"x": X}, [], {}),
    ("Softmax", {"x": X}, [], {"axis": 1}),
    ("Softmax", {"x": X}, [], {"axis": 2, "opset": 11}),
    ("Softmax", {"x": X}, [], {"opset": 12}),
    ("Softmax", {"x": X}, [], {"axis": -2, "opset": 11}),
    ("Softmax", {"x": X}, [], {"axis": 0, "opset": 12}),
    ("LayerNormalization", {"x": X}, [ROW, ROW], {"epsilon": 1e-3}),
    ("LayerNormalization", {"x": X}, [ROW], {}),
    ("LayerNormalization", {"x": X}, [M, M], {"axis": 1}),
    ("RMSNormalization", {"x": X}, [ROW], {"opset": 23, "epsilon": 1e-3}),
    ("RMSNormalization", {"x": X}, [M], {"opset": 23, "axis": -2}),
    ("SimplifiedLayerNormalization", {"x": X}, [ROW], {"axis": -1, "epsilon": 1e-3}),
    ("LpNormalization", {"x": X}, [], {"axis": 1}),
    ("LpNormalization", {"x": X}, [], {"p": 1}),
    ("Where", {"c": BOOL, "x": X, "y": Y}, [], {}),
    ("Where", {"c": BOOL}, [f(1), f(-10000)], {}),
    ("Cast", {"x": X}, [], {"to": TensorProto.FLOAT16}),
    ("Cast", {"x": X * 3}, [], {"to": TensorProto.INT64}),
    ("Cast", {"x": X}, [], {"to": TensorProto.BOOL}),
    ("Cast", {"x": IDS}, [], {"to": TensorProto.FLOAT}),
    ("CastLike", {"x": IDS, "y": X}, [], {}),
    ("Dropout", {"x": X}, [f(0.5), np.asarray(False)], {}),
    ("MatMul", {"x": X}, [W], {}),
    ("MatMul", {"x": X, "y": np.swapaxes(Y, 1, 2).copy()}, [], {}),
    ("MatMul", {"x": ROW}, [W], {}),
    ("MatMul", {"x": X}, [ROW], {}),
    ("MatMul", {"x": ROW}, [ROW], {}),
    ("Gemm", {"x": M}, [W, R.normal(size=5).astype(np.float32)], {"alpha": 0.5, "beta": 2.0}),
    ("Gemm", {"x": M.T.copy()}, [W.T.copy()], {"transA": 1, "transB": 1}),
    *(
        (f"Reduce{name}", {"x": X}, [], {"axes": [-1, 0]})
        for name in ("Mean", "Max", "Min", "L1", "L2", "SumSquare")
    ),
    *(
        (f"Reduce{name}", {"x": X}, [i(1)], {"keepdims": 0, "opset": 18})
        for name in ("Mean", "Max", "Min", "L2")
    ),
    ("ReduceSum", {"x": X}, [i(-1)], {}),
    ("ReduceSum", {"x": X}, [], {}),
    ("ReduceSum", {"x": IDS}, [i(0)], {"keepdims": 0}),
    ("CumSum", {"x": X}, [np.int64(1)], {}),
    ("CumSum", {"x": X}, [np.int64(-1)], {"exclusive": 1, "reverse": 1}),
    ("Reshape", {"x": X}, [i(0, -1, 2)], {}),
    ("Reshape", {"x": X}, [i(24)], {}),
    ("Flatten", {"x": X}, [], {}),
    ("Flatten", {"x": X}, [], {"axis": -1}),
    ("Squeeze", {"x": X[:, None]}, [i(1)], {}),
    ("Squeeze", {"x": X[:, None]}, [], {}),
    ("Unsqueeze", {"x": X}, [i(0, -1)], {}),
    ("Unsqueeze", {"x": X}, [], {"axes": [1], "opset": 11}),
    ("Transpose", {"x": X}, [], {}),
    ("Transpose", {"x": X}, [], {"perm": [1, 0, 2]}),
    ("Expand", {"x": X[:, :1]}, [i(3, 2, 5, 4)], {}),
    ("Expand", {"x": X}, [i(1, 1)], {}),
    ("Tile", {"x": X}, [i(2, 1, 3)], {}),
    ("Slice", {"x": X}, [i(1), i(2**63 - 1), i(-1)], {}),
    ("Slice", {"x": X}, [i(0, -2), i(1, 100), i(0, 1)], {}),
    ("Slice", {"x": X}, [i(-1), i(-(2**63)), i(2), i(-2)], {}),
    ("Slice", {"x": X}, [i(0), i(3), i(1)], {}),
    ("Split", {"x": X}, [i(1, 3)], {"axis": 2, "outputs": 2}),
    ("Split", {"x": X}, [], {"axis": 1, "outputs": 3}),
    ("Split", {"x": X}, [], {"axis": 1, "outputs": 2, "num_outputs": 2, "opset": 18}),
    ("Concat", {"x": X, "y": Y}, [], {"axis": -2}),
    ("Concat", {"x": X}, [], {"axis": 1}),
    ("Gather", {"x": X, "ids": IDS}, [], {"axis": 1}),
    ("Gather", {"x": X}, [np.int64(-1)], {"axis": 1}),
    ("GatherND", {"x": X}, [np.array([[[0, 2], [1, -1]]])], {}),
    ("GatherND", {"x": X}, [np.array([[1], [0], [-1]])], {}),
    ("GatherElements", {"x": X}, [np.array([[[0, 2, -1, 1]], [[1, 1, 2, 0]]])], {"axis": 1}),
    ("GatherND", {"x": X, "ids": np.array([[[0, 2], [1, -1]]])}, [], {}),
    ("GatherND", {"x": X, "ids": np.array([[[0], [-1]], [[2], [1]]])}, [], {"batch_dims": 1}),
    ("GatherND", {"x": X}, [np.array([[2], [-1]])], {"batch_dims": 1}),
    ("GatherElements", {"x": X, "ids": np.array([[[0, 2, -1, 1]], [[1, 1, 2, 0]]])}, [], {"axis": 1}),
    ("GatherElements", {"x": X, "ids": np.array([[[0, 2], [-1, 1]]])}, [], {"axis": -1}),
    ("ScatterND", {"x": X}, [np.array([[1, 2], [0, -1]]), M[:2]], {}),
    ("ScatterND", {"x": X}, [np.array([[-1]]), Y[:1]], ADDING),
    ("ScatterND", {"x": IDS}, [np.array([[0, 1]]), i(7)], {}),
    ("ScatterElements", {"x": X}, [np.array([[[2, 0]], [[1, -1]]]), Y[:, :1, :2].copy()], {"axis": 1}),
    (
        "ScatterElements",
        {"x": X},
        [np.full((2, 1, 4), 1), Y[:, :1].copy()],
        {"axis": 1, **ADDING},
    ),
    einsum("bij,bkj->bik", X, Y),
    einsum("bij, jk", X, W, constants=1),
    einsum("...ij,...jk->...ik", X, np.swapaxes(Y, 1, 2).copy()),
    einsum("bij,bij->b", X, Y),
    einsum("bij,j->bi", X, ROW),
    einsum("ij,kl->ikjl", M, W),
    einsum("...ij->...", X),
    einsum("bhid,bhjd,bhjk->bhik", Q4, Q4 + 1, Q4 - 1),
    einsum("i,j->ij", ROW, SIX),
    ("Conv", {"x": IMAGE}, [KERNEL, SIX], {"strides": [2, 3]}),
    ("Conv", {"x": IMAGE}, [KERNEL], {"strides": [2, 3], "kernel_shape": [2, 3], "pads": [0, 0, 0, 0]}),
    ("Conv", {"x": IMAGE}, [KERNEL, SIX], {"pads": [1, 0, 2, 1], "dilations": [2, 1]}),
    ("Conv", {"x": IMAGE}, [KERNEL], {"auto_pad": "SAME_UPPER", "strides": [2, 2]}),
    ("Conv", {"x": IMAGE}, [KERNEL], {"auto_pad": "SAME_LOWER"}),
    ("Conv", {"x": IMAGE}, [KERNEL[:, :2].copy(), SIX], {"group": 2, "strides": [3, 2]}),
    ("Conv", {"x": X}, [R.normal(size=(2, 3, 2)).astype(np.float32)], {}),
    ("Attention", {"q": Q4, "k": K4, "v": V4, "m": KEPT}, [], {"opset": 23}),
    ("Attention", {"q": Q4, "k": K4, "v": V4}, [], {"opset": 23, "is_causal": 1, "scale": 0.5}),
    (
        "Attention",
        {"q": Q4, "k": K4, "v": V4, "m": KEPT[:, :, ::-1].copy()},
        [],
        {"opset": 23, "is_causal": 1},
    ),
    ("Attention", {"q": Q4, "k": K4, "v": V4, "m": Q4[:, :1, :, :5]}, [], {"opset": 23, "is_causal": 1}),
    (
        "Attention",
        {"q": Q4[:, 0].repeat(4, axis=2), "k": K4[:, 0].repeat(2, axis=2), "v": V4[:, 1].repeat(2, axis=2)},
        [],
        {"opset": 23, "q_num_heads": 4, "kv_num_heads": 2},
    ),
    ("RotaryEmbedding", {"x": Q4}, [COS, SIN], {"opset": 23}),
    ("RotaryEmbedding", {"x": Q4}, [COS, SIN], {"opset": 23, "interleaved": 1}),
    ("RotaryEmbedding", {"x": Q4[:, 0]}, [COS, SIN], {"opset": 23, "num_heads": 1}),
    (
        "RotaryEmbedding",
        {"x": Q4},
        [COS[0], SIN[0], np.array([[0, 1, 2, 3, 4], [1, 1, 0, 4, 2]])],
        {"opset": 23},
    ),
    ("BatchNormalization", {"x": IMAGE}, [SIX[:4], SIX[1:5], SIX[2:], np.abs(SIX[:4])], {"epsilon": 1e-3}),
    ("GlobalAveragePool", {"x": IMAGE}, [], {}),
    *((name, {"x": X}, [], {}) for name in ("Ceil", "Round", "Sin", "Cos", "Tan", "Atan", "Sinh", "Cosh")),
    *((name, {"x": UNIT}, [], {}) for name in ("Asin", "Acos", "Asinh", "Atanh")),
    *((name, {"x": POSITIVE + 1}, [], {}) for name in ("Log", "Acosh")),
    *((name, {"x": X}, [], {}) for name in ("Softplus", "Softsign", "Elu", "Selu", "Celu", "LogSoftmax")),
    ("Mish", {"x": X}, [], {"opset": 18}),
    ("Elu", {"x": X}, [], {"alpha": 0.4}),
    ("Celu", {"x": X}, [], {"alpha": 0.4}),
    ("ThresholdedRelu", {"x": X}, [], {"alpha": 0.4}),
    ("Shrink", {"x": X}, [], {"bias": 0.1, "lambd": 0.4}),
    ("LogSoftmax", {"x": X}, [], {"axis": 1}),
    ("LogSoftmax", {"x": X}, [], {"axis": 0, "opset": 12}),
    ("IsInf", {"x": np.where(BOOL, X, -np.inf).astype(np.float32)}, [], {}),
    ("IsInf", {"x": np.where(BOOL, X, -np.inf).astype(np.float32)}, [], {"detect_negative": 0}),
    ("ArgMax", {"x": X}, [], {"axis": 1}),
    ("ArgMax", {"x": IDS % 2}, [], {"axis": -1, "keepdims": 0, "select_last_index": 1}),
    ("ArgMin", {"x": X}, [], {"axis": 2, "keepdims": 0}),
    ("TopK", {"x": X}, [i(2)], {"axis": 1, "outputs": 2}),
    ("TopK", {"x": X}, [i(3)], {"largest": 0, "outputs": 2}),
    *(
        (name, {"a": IDS, "b": IDS + 3}, [], {"opset": 18})
        for name in ("BitwiseAnd", "BitwiseOr", "BitwiseXor")
    ),
    ("BitwiseNot", {"x": IDS}, [], {"opset": 18}),
    ("BitShift", {"a": np.array([5, 9], np.uint64)}, [np.array([2, 1], np.uint64)], {"direction": "RIGHT"}),
    ("BitShift", {"a": np.array([5, 9], np.uint64)}, [np.array([2, 1], np.uint64)], {"direction": "LEFT"}),
    ("ReduceProd", {"x": X}, [], {"axes": [-1, 0]}),
    ("ReduceLogSum", {"x": POSITIVE}, [i(1)], {"keepdims": 0, "opset": 18}),
    ("ReduceLogSumExp", {"x": X}, [i(1)], {"opset": 18}),
    ("ReduceLogSumExp", {"x": X}, [i(0, 2)], {"keepdims": 0, "opset": 18}),
    ("OneHot", {"ids": IDS}, [np.int64(4), np.array([0.0, 1.0], np.float32)], {}),
    ("OneHot", {"ids": IDS}, [np.int64(3), np.array([2.0, 5.0], np.float32)], {"axis": 1}),
    ("Trilu", {"x": X}, [], {}),
    ("Trilu", {"x": X}, [np.int64(1)], {"upper": 0}),
    ("Trilu", {"x": X}, [np.int64(1)], {"upper": 1}),
    ("Pad", {"x": X}, [i(0, 1, 0, 2, 0, 3), f(7)], {}),
    ("Pad", {"x": X}, [i(1, 0), None, i(2)], {"opset": 18}),
    ("Gelu", {"x": X}, [], {"domain": DOMAIN}),
    ("BiasGelu", {"x": X}, [ROW], {"domain": DOMAIN}),
    ("FastGelu", {"x": X}, [], {"domain": DOMAIN}),
    ("FastGelu", {"x": X}, [ROW], {"domain": DOMAIN}),
    ("QuickGelu", {"x": X}, [], {"domain": DOMAIN, "alpha": 1.702}),
    ("FusedMatMul", {"x": X, "y": Y}, [], {"domain": DOMAIN, "transB": 1, "alpha": 0.25}),
    ("FusedMatMul", {"x": X, "y": Y}, [], {"domain": DOMAIN, "transA": 1}),
    ("SkipLayerNormalization", {"x": X, "y": Y}, [ROW, ROW, ROW], {"domain": DOMAIN, "epsilon": 1e-3}),
    *FUSED,
]

LATER: list[Case] = [
    ("ReduceSum", {"x": X}, [], {"noop_with_empty_axes": 1}),
    einsum("bij->jb", X),
    ("Attention", {"q": Q4, "k": K4, "v": V4, "m": Q4[:, :1, :, :5]}, [], {"opset": 23, "softcap": 2.0}),
    ("RotaryEmbedding", {"x": Q4}, [COS[..., :2], SIN[..., :2]], {"opset": 23, "rotary_embedding_dim": 4}),
]
"""What ONNX Runtime 1.23, the last for Python 3.10, refuses or gets wrong; so it does with later opsets."""


def _beyond_1_23(case: Case) -> bool:
    operator, _, _, attributes = case
    return attributes.get("opset", 0) > 23 or (operator == "GroupQueryAttention" and "softcap" in attributes)


TRIED = {(f"{each['domain']}." if "domain" in each else "") + name for name, *_, each in [*CASES, *LATER]}
"""Operators with a case, be it for a later ONNX Runtime."""
if tuple(map(int, onnxruntime.__version__.split(".")[:2])) > (1, 23):
    CASES += LATER
else:
    CASES = [case for case in CASES if not _beyond_1_23(case)]

REFUSED: list[tuple[Case, str]] = [
    (("Reshape", {"x": X, "shape": i(24)}, [], {}), "must not depend on the input"),
    (("Dropout", {"x": X}, [f(0.5), np.asarray(True)], {}), "model.eval"),
    (("Pad", {"x": X}, [i(0, 1, 0, 0, 0, 0)], {"mode": "edge"}), "pads by edge"),
    (("GatherElements", {"x": X, "ids": IDS[..., None].repeat(9, axis=2)}, [], {"axis": 1}), "beyond"),
    (("ScatterND", {"x": X, "ids": IDS, "y": M[:2]}, [], {}), "rewrite it with Where"),
    (("ScatterND", {"x": X}, [i(0)[None], Y[:1]], {"reduction": "mul", "opset": 18}), "only none and add"),
    (("ScatterND", {"x": X}, [i(0, 0)[:, None], Y], ADDING), "twice at one place"),
    (einsum("ii", W[:, :4]), "diagonal"),
    (einsum("ij->ik", M), "no operand has"),
    (einsum("ij,jk->ik", M, M), "two sizes"),
    (einsum("ij,jk->ik", M), "1 operands"),
    (("Conv", {"x": IMAGE}, [KERNEL], {"group": 2}), "does not fit"),
    (("Conv", {"x": IMAGE}, [KERNEL], {"dilations": [9, 9]}), "larger than what it covers"),
    (("Conv", {"x": IMAGE}, [KERNEL], {"pads": [-1, 0, 0, 0]}), "less than nothing"),
    (("Conv", {"x": M}, [M], {}), "no axes beside"),
    (("Attention", {"q": Q4, "k": K4, "v": V4}, [None, K4, V4], {"opset": 23}), "use_cache=False"),
    (("Attention", {"q": X, "k": X, "v": X}, [], {"opset": 23}), "how many heads"),
    (("Attention", {"q": Q4, "k": Q4[:, :3], "v": Q4[:, :3]}, [], {"opset": 23}), "share 3 keys"),
    (("Attention", {"q": Q4, "k": K4, "v": V4}, [KEPT[..., :3]], {"opset": 23}), "for 5 keys"),
    (("RotaryEmbedding", {"x": Q4}, [COS[..., :2], SIN[..., :2]], {"opset": 23}), "turns 6 of 6 channels"),
    (("BatchNormalization", {"x": IMAGE}, [SIX[:4]] * 4, {"training_mode": 1}), "model.eval"),
    (("TopK", {"x": X}, [i(7)], {"axis": 1, "outputs": 2}), "seeks 7 of 3"),
    (("NonZero", {"x": X}, [], {}), "masks"),
    (("LSTM", {"x": X}, [X, X], {}), "recurrent"),
    (("Det", {"x": X}, [], {}), "no translation"),
    *FUSED_REFUSED,
    (("Exp", {"x": X, "y": Y}, [], {}), "2 inputs are not what opset 17 gives it"),
    (("Add", {"x": X, "y": W}, [], {}), "do not broadcast"),
]
