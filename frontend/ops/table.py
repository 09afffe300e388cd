"""The table: ONNX op_type -> function(node, *operands) returning IR.

To support another operator, write such a function and enter it in ``TABLE``; raise Unsupported with the
reason where it covers only some uses. Operators whose inputs are all known never come here: the loader folds
them.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import reduce

from ppc.frontend.ir import ops
from ppc.frontend.ir.graph import FLOAT, INT, Op
from ppc.frontend.ir.ops import Const, scalar
from ppc.frontend.ops import fused, norm, quantised
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

Built = Op | tuple[Op | None, ...]
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


_ACTIVATIONS: dict[str, Callable[[Op], Op]] = {
    "Relu": ops.Relu,
    "Sigmoid": ops.Sigmoid,
    "Tanh": ops.Tanh,
}


def _activated(make: Builder) -> Builder:
    """An operator with a function joined to it."""

    def build(node: Node, *xs: Op) -> Op:
        name = node.get("activation", "")
        if name not in _ACTIVATIONS:
            raise Unsupported(f"ends in {name}; save the model without ONNX Runtime's optimization")
        made = make(node, *xs)
        assert isinstance(made, Op)
        return _ACTIVATIONS[name](made)

    return build


def _fused_matmul(node: Node, a: Op, b: Op) -> Op:
    """alpha·A·B; where batch axes are transposed the first of them comes behind the others."""
    a = _first_inside(a) if node.get("transBatchA", 0) else a
    b = _first_inside(b) if node.get("transBatchB", 0) else b
    a = _swapped(a) if node.get("transA", 0) else a
    b = _swapped(b) if node.get("transB", 0) else b
    return _times(_matmul(node, a, b), node.get("alpha", 1.0))


def _first_inside(x: Op) -> Op:
    rank = x.type.rank
    return ops.Transpose(x, (*range(1, rank - 1), 0, rank - 1))


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


def _swish(node: Node, x: Op) -> Op:
    return ops.Mul(x, ops.Sigmoid(_times(x, node.get("alpha", 1.0))))


def _dropout(node: Node, x: Op, ratio: Op | None = None, training: Op | None = None) -> Op:
    if training is not None and (not isinstance(training, Const) or bool(training.value)):
        raise Unsupported("drops elements at random; export for inference (model.eval())")
    return x


def _mod(node: Node, a: Op, b: Op) -> Op:
    return ops.Mod(a, b, bool(node.get("fmod", 0)))


def _xor(node: Node, a: Op, b: Op) -> Op:
    return ops.Not(ops.Equal(a, b))


# ---- choices


def _gather_rows(node: Node, table: Op, ids: Op) -> Op:
    return ops.Gather(table, ids, axis_of(table, node.get("gather_axis", 0)))


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
    "Swish": _swish,
    "Gelu": _gelu,
    "Softmax": _softmax,
    "LayerNormalization": norm.layer_norm,
    "RMSNormalization": norm.rms_norm,
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
    "com.microsoft.FusedGemm": _activated(_gemm),
    "com.microsoft.FusedConv": _activated(conv),
    "com.microsoft.SkipLayerNormalization": norm.skip_layer_norm,
    "com.microsoft.SkipSimplifiedLayerNormalization": norm.skip_rms_norm,
    "com.microsoft.EmbedLayerNormalization": norm.embed_layer_norm,
    "SimplifiedLayerNormalization": norm.rms_norm,
    "com.microsoft.Attention": fused.attention,
    "com.microsoft.MultiHeadAttention": fused.multi_head_attention,
    "com.microsoft.GroupQueryAttention": fused.group_query_attention,
    "com.microsoft.RotaryEmbedding": fused.rotary,
    # weights in few bits, which `read/weights.py` unpacks
    "com.microsoft.MatMulNBits": quantised.product,
    "com.microsoft.MatMulBnb4": quantised.product,
    "com.microsoft.GatherBlockQuantized": _gather_rows,
    # activations in 8 bits
    "DynamicQuantizeLinear": quantised.dynamic,
    "QuantizeLinear": quantised.quantise,
    "DequantizeLinear": quantised.dequantise,
    "com.microsoft.QuantizeLinear": quantised.quantise,
    "com.microsoft.DequantizeLinear": quantised.dequantise,
    "MatMulInteger": quantised.matmul_integer,
    "ConvInteger": quantised.conv_integer,
    "QLinearMatMul": quantised.qlinear_matmul,
    "com.microsoft.DynamicQuantizeMatMul": quantised.product,
    "com.microsoft.MatMulIntegerToFloat": quantised.scaled_product,
    "com.microsoft.QAttention": quantised.attention,
}
"""By op_type, with the domain in front where it is not ONNX's own."""

REMEDIES = {
    "NonZero": "its output's shape depends on the input's values; rewrite it with masks",
    "Range": "its output's shape depends on the input's values; fix the model's shapes",
    "ConstantOfShape": "its output's shape depends on the input's values; fix the model's shapes",
    "Resize": "resize the pixels before they become the model's input",
    "LSTM": "recurrent layers are not compiled",
    "GRU": "recurrent layers are not compiled",
    "RNN": "recurrent layers are not compiled",
    "MaxPool": "only averages are pooled; there is no maximum over windows",
}
"""What to do about operators that have no entry above."""
