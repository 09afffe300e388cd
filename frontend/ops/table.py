"""The table: ONNX op_type -> function(node, *operands) returning IR.

To support another operator, write such a function and enter it in ``TABLE``; raise Unsupported with the
reason where it covers only some uses. Operators whose inputs are all known never come here: the loader folds
them.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import reduce

import numpy as np

from ppc.frontend.ir import ops
from ppc.frontend.ir.graph import FLOAT, INT, Op
from ppc.frontend.ir.ops import Const, scalar
from ppc.frontend.ops.attention import attention, rotary_embedding
from ppc.frontend.ops.clear import TABLE as CLEAR
from ppc.frontend.ops.clear import log_of_sum, over_axes
from ppc.frontend.ops.conv import batch_norm, conv, global_average
from ppc.frontend.ops.einsum import einsum
from ppc.frontend.ops.kinds import kind_of
from ppc.frontend.ops.node import Node, Unsupported, axis_of, like, number
from ppc.frontend.ops.scatter import gather_elements, gather_nd, scatter_elements, scatter_nd
from ppc.frontend.ops.structure import (
    concat,
    cumsum,
    expand,
    flatten,
    gather,
    l1,
    l2,
    lp_normalization,
    minimum,
    one_hot,
    over_rows,
    pad,
    reduction,
    reshape,
    reshaped,
    slice_,
    split,
    squeeze,
    sum_of_squares,
    tile,
    transpose,
    trilu,
    unsqueeze,
)
from ppc.runtime.base import function

Built = Op | tuple[Op, ...]
Builder = Callable[..., Built]


def _unary(make: Callable[[Op], Op]) -> Builder:
    return lambda node, x: make(x)


def _binary(make: Callable[[Op, Op], Op]) -> Builder:
    return lambda node, a, b: make(a, b)


def _folded(make: Callable[[Op, Op], Op]) -> Builder:
    """An operator of any number of operands, two by two."""
    return lambda node, *xs: reduce(make, xs)


def _mean(node: Node, *xs: Op) -> Op:
    return ops.Mul(reduce(ops.Add, xs), number(1 / len(xs)))


# ---- kinds of numbers


def _cast(node: Node, x: Op) -> Op:
    to = kind_of(node.get("to", 0))
    if to is None:
        raise Unsupported("casts to what is no number")
    return _to(x, to)


def _cast_like(node: Node, x: Op, other: Op) -> Op:
    return _to(x, other.type.num)


def _to(x: Op, num: ops.Num) -> Op:
    return x if x.type.num == num else ops.Cast(x, num)


# ---- products


def _matmul(node: Node, a: Op, b: Op) -> Op:
    left = reshaped(a, (1, *a.type.shape)) if a.type.rank == 1 else a
    right = reshaped(b, (*b.type.shape, 1)) if b.type.rank == 1 else b
    out: Op = ops.MatMul(left, right)
    if a.type.rank == 1:
        out = reshaped(out, (*out.type.shape[:-2], out.type.shape[-1]))
    if b.type.rank == 1:
        out = reshaped(out, out.type.shape[:-1])
    return out


def _gemm(node: Node, a: Op, b: Op, c: Op | None = None) -> Op:
    """alpha·A·B + beta·C"""
    a = ops.Transpose(a, (1, 0)) if node.get("transA", 0) else a
    b = ops.Transpose(b, (1, 0)) if node.get("transB", 0) else b
    out = _times(ops.MatMul(a, b), node.get("alpha", 1.0))
    return out if c is None else ops.Add(out, _times(c, node.get("beta", 1.0)))


def _fused_matmul(node: Node, a: Op, b: Op) -> Op:
    if node.get("transBatchA", 0) or node.get("transBatchB", 0):
        raise Unsupported("transposes batch axes; save the model without ONNX Runtime's optimization")
    a = _swapped(a) if node.get("transA", 0) else a
    b = _swapped(b) if node.get("transB", 0) else b
    return _times(_matmul(node, a, b), node.get("alpha", 1.0))


def _swapped(x: Op) -> Op:
    rank = x.type.rank
    return ops.Transpose(x, (*range(rank - 2), rank - 1, rank - 2))


def _times(x: Op, factor: float) -> Op:
    return x if factor == 1 else ops.Mul(x, number(factor))


# ---- functions


def _clip(node: Node, x: Op, lo: Op | None = None, hi: Op | None = None) -> Op:
    ends = [node.find("min", float), node.find("max", float)]
    for i, end in enumerate((lo, hi)):
        if end is None:
            continue
        ends[i] = None if isinstance(end, Const) and end.secret else scalar(end)
        if ends[i] is None:
            x = ops.Min(x, end) if i else ops.Max(x, end)
    low, high = ((None if end is None or abs(end) > 1e38 else end) for end in ends)
    return x if low is None and high is None else ops.Clip(x, low, high)


def _softmax(node: Node, x: Op) -> Op:
    return over_rows(node, x, lambda rows, axis: ops.Softmax(rows, axis - rows.type.rank))


def _gelu(node: Node, x: Op) -> Op:
    return ops.Gelu(x, node.get("approximate", "none"))


def _bias_gelu(node: Node, x: Op, bias: Op) -> Op:
    return ops.Gelu(ops.Add(x, bias))


def _fast_gelu(node: Node, x: Op, bias: Op | None = None) -> Op:
    return ops.Gelu(x if bias is None else ops.Add(x, bias), "tanh")


def _quick_gelu(node: Node, x: Op) -> Op:
    return ops.Mul(x, ops.Sigmoid(ops.Mul(x, number(node.get("alpha", 1.702)))))


def _leaky_relu(node: Node, x: Op) -> Op:
    return _prelu(node, x, number(node.get("alpha", 0.01)))


def _prelu(node: Node, x: Op, slope: Op) -> Op:
    return ops.Sub(ops.Relu(x), ops.Mul(slope, ops.Relu(ops.Neg(x))))


def _hard_sigmoid(node: Node, x: Op) -> Op:
    return ops.Clip(ops.Add(_times(x, node.get("alpha", 0.2)), number(node.get("beta", 0.5))), 0.0, 1.0)


def _hard_swish(node: Node, x: Op) -> Op:
    return ops.Mul(x, ops.Clip(ops.Add(ops.Mul(x, number(1 / 6)), number(0.5)), 0.0, 1.0))


def _dropout(node: Node, x: Op, ratio: Op | None = None, training: Op | None = None) -> Op:
    if training is not None and (not isinstance(training, Const) or bool(training.value)):
        raise Unsupported("drops elements at random; export for inference (model.eval())")
    return x


def _mod(node: Node, a: Op, b: Op) -> Op:
    return ops.Mod(a, b, bool(node.get("fmod", 0)))


def _xor(node: Node, a: Op, b: Op) -> Op:
    return ops.Not(ops.Equal(a, b))


# ---- norms


def _layer_norm(node: Node, x: Op, gamma: Op, beta: Op | None = None) -> Op:
    rows, gamma, beta_ = _rows(node, x, gamma, beta)
    out = ops.LayerNorm(rows, gamma, beta_, float(node.get("epsilon", 1e-5)))
    return reshaped(out, x.type.shape)


def _rms_norm(node: Node, x: Op, gamma: Op) -> Op:
    rows, gamma, _ = _rows(node, x, gamma, None)
    return reshaped(ops.RMSNorm(rows, gamma, float(node.get("epsilon", 1e-5))), x.type.shape)


def _rows(node: Node, x: Op, gamma: Op, beta: Op | None) -> tuple[Op, Op, Op]:
    """Several normalized axes as one last axis, with scale and shift as rows of it."""
    axis = axis_of(x, node.get("axis", -1))
    row = x.type.shape[axis:]
    n = int(np.prod(row))
    shift = Const(np.zeros(n, np.float32)) if beta is None else reshaped(_widened(beta, row), (n,))
    return reshaped(x, (*x.type.shape[:axis], n)), reshaped(_widened(gamma, row), (n,)), shift


def _widened(x: Op, shape: tuple[int, ...]) -> Op:
    return x if x.type.size == int(np.prod(shape)) else ops.Broadcast(x, shape)


def _skip_layer_norm(
    node: Node, x: Op, skip: Op, gamma: Op, beta: Op | None = None, bias: Op | None = None
) -> tuple[Op, ...]:
    total: Op = ops.Add(x, skip)
    total = total if bias is None else ops.Add(total, bias)
    out = _layer_norm(Node("", node.opset, {"epsilon": node.get("epsilon", 1e-12)}, ()), total, gamma, beta)
    return (out, total, total, total) if len(node.outputs) == 4 else (out,)


def _where(node: Node, condition: Op, a: Op, b: Op) -> Op:
    return ops.Where(condition, a, b)


def _sign(node: Node, x: Op) -> Op:
    """[x > 0] − [x < 0]"""
    zero = like(0, x.type.num)
    num = FLOAT if x.type.num == FLOAT else INT
    return ops.Sub(ops.Cast(ops.Greater(x, zero), num), ops.Cast(ops.Less(x, zero), num))


TABLE: dict[str, Builder] = {
    # arithmetic
    "Add": _binary(ops.Add),
    "Sub": _binary(ops.Sub),
    "Mul": _binary(ops.Mul),
    "Div": _binary(ops.Div),
    "Pow": _binary(ops.Pow),
    "Mod": _mod,
    "Neg": _unary(ops.Neg),
    "Abs": _unary(ops.Abs),
    "Sign": _sign,
    "Floor": _unary(ops.Floor),
    "Sum": _folded(ops.Add),
    "Mean": _mean,
    "Max": _folded(ops.Max),
    "Min": _folded(ops.Min),
    "Clip": _clip,
    # functions
    "Sqrt": _unary(ops.Sqrt),
    "Exp": _unary(ops.Exp),
    "Erf": _unary(ops.Erf),
    "Tanh": _unary(ops.Tanh),
    "Sigmoid": _unary(ops.Sigmoid),
    "Reciprocal": _unary(ops.Reciprocal),
    "Relu": _unary(ops.Relu),
    "LeakyRelu": _leaky_relu,
    "PRelu": _prelu,
    "HardSigmoid": _hard_sigmoid,
    "HardSwish": _hard_swish,
    "Gelu": _gelu,
    "Softmax": _softmax,
    "LayerNormalization": _layer_norm,
    "RMSNormalization": _rms_norm,
    "LpNormalization": lp_normalization,
    "BatchNormalization": batch_norm,
    # truth
    "Equal": _binary(ops.Equal),
    "Less": _binary(ops.Less),
    "Greater": _binary(ops.Greater),
    "LessOrEqual": _binary(ops.LessOrEqual),
    "GreaterOrEqual": _binary(ops.GreaterOrEqual),
    "And": _binary(ops.And),
    "Or": _binary(ops.Or),
    "Xor": _xor,
    "Not": _unary(ops.Not),
    "IsNaN": _unary(ops.IsNaN),
    "Where": _where,
    # kinds
    "Cast": _cast,
    "CastLike": _cast_like,
    "Identity": _unary(lambda x: x),
    "Dropout": _dropout,
    # products
    "MatMul": _matmul,
    "Gemm": _gemm,
    "Einsum": einsum,
    "Conv": conv,
    "Attention": attention,
    "RotaryEmbedding": rotary_embedding,
    # sums
    "ReduceSum": reduction(ops.ReduceSum),
    "ReduceMean": reduction(ops.ReduceMean),
    "ReduceMax": reduction(ops.ReduceMax),
    "ReduceMin": reduction(minimum),
    "ReduceL1": reduction(l1),
    "ReduceL2": reduction(l2),
    "ReduceSumSquare": reduction(sum_of_squares),
    "ReduceProd": reduction(over_axes(function.Product)),
    "ReduceLogSum": reduction(log_of_sum),
    "ReduceLogSumExp": reduction(over_axes(function.LogSumExp)),
    "GlobalAveragePool": global_average,
    "CumSum": cumsum,
    # structure
    "Reshape": reshape,
    "Flatten": flatten,
    "Squeeze": squeeze,
    "Unsqueeze": unsqueeze,
    "Transpose": transpose,
    "Expand": expand,
    "Tile": tile,
    "Slice": slice_,
    "Split": split,
    "Concat": concat,
    "Gather": gather,
    "GatherND": gather_nd,
    "GatherElements": gather_elements,
    "ScatterND": scatter_nd,
    "ScatterElements": scatter_elements,
    "OneHot": one_hot,
    "Trilu": trilu,
    "Pad": pad,
    # what one party may do alone
    **CLEAR,
    # what ONNX Runtime's optimizer makes of the above
    "com.microsoft.Gelu": _gelu,
    "com.microsoft.BiasGelu": _bias_gelu,
    "com.microsoft.FastGelu": _fast_gelu,
    "com.microsoft.QuickGelu": _quick_gelu,
    "com.microsoft.FusedMatMul": _fused_matmul,
    "com.microsoft.SkipLayerNormalization": _skip_layer_norm,
    "SimplifiedLayerNormalization": _rms_norm,
}
"""By op_type, with the domain in front where it is not ONNX's own."""

REMEDIES = {
    "MatMulInteger": "quantized activations are not compiled; export the float model",
    "DynamicQuantizeLinear": "quantized activations are not compiled; export the float model",
    "QLinearMatMul": "quantized activations are not compiled; export the float model",
    "QuantizeLinear": "quantized activations are not compiled; export the float model",
    "DequantizeLinear": "quantized activations are not compiled; export the float model",
    "NonZero": "its output's shape depends on the input's values; rewrite it with masks",
    "Range": "its output's shape depends on the input's values; fix the model's shapes",
    "ConstantOfShape": "its output's shape depends on the input's values; fix the model's shapes",
    "com.microsoft.Attention": "save the model without ONNX Runtime's optimization",
    "com.microsoft.MultiHeadAttention": "save the model without ONNX Runtime's optimization",
    "com.microsoft.EmbedLayerNormalization": "save the model without ONNX Runtime's optimization",
    "Resize": "resize the pixels before they become the model's input",
    "LSTM": "recurrent layers are not compiled",
    "GRU": "recurrent layers are not compiled",
    "RNN": "recurrent layers are not compiled",
    "MaxPool": "only averages are pooled; there is no maximum over windows",
}
"""What to do about operators that have no entry above."""
