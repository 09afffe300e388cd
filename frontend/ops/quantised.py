"""Activations in 8 bits, as the floats that they stand for.

What rounds them is left out, not what saturates them: ReLU and clip are merged into that. A plan computes in
more bits than these, and `ppc compile` says how far ONNX Runtime's own rounding lies from that. An activation
whose scale ONNX Runtime finds as it runs stands for itself, with the scale 1 and the zero point 0;
`read/scales.py` sees that it is never read without its scale.

    DynamicQuantizeLinear(x) = x, 1, 0
    MatMulInteger(a, b, z, y) = (a − z) @ (b − y)
    QuantizeLinear(x, s, z) = clip(x)/s + z      DequantizeLinear(q, s, z) = (q − z)·s
"""

from __future__ import annotations

import math

import numpy as np

from ppc.frontend.ir import ops
from ppc.frontend.ir.graph import FLOAT, INT, Op, walk_from
from ppc.frontend.ir.ops import Const
from ppc.frontend.ir.reference import constant_value
from ppc.frontend.ops import fused
from ppc.frontend.ops.conv import conv
from ppc.frontend.ops.node import Node, Unsupported, axis_of, like, number
from ppc.frontend.ops.structure import reshaped

ROUNDING = (
    "DynamicQuantizeLinear",
    "QuantizeLinear",
    "QLinearMatMul",
    "com.microsoft.QuantizeLinear",
    "com.microsoft.DynamicQuantizeMatMul",
)
"""Operators that round activations, which plans do not."""


def dynamic(node: Node, x: Op) -> tuple[Op, ...]:
    return x, number(1.0), like(0, INT)


def quantise(node: Node, x: Op, scale: Op, zero: Op | None, low: Op, high: Op) -> Op:
    """``low`` and ``high`` are what the least and the greatest integer stand for."""
    along = _along(node, x, scale)
    scaled = ops.Div(ops.Min(ops.Max(x, along(low)), along(high)), along(scale))
    return scaled if zero is None else ops.Add(scaled, along(_float(zero)))


def dequantise(node: Node, x: Op, scale: Op, zero: Op | None = None) -> Op:
    along = _along(node, x, scale)
    inner, shift = (x.a, x.b) if isinstance(x, ops.Add) else (x, None)
    if isinstance(inner, ops.Div) and _same(inner.b, along(scale)):
        if shift is None and (zero is None or _is_zero(zero)):
            return inner.a
        if shift is not None and zero is not None and _same(shift, along(_float(zero))):
            return inner.a  # the rounding apart
    return ops.Mul(_centred(x, None if zero is None else along(zero)), along(scale))


def matmul_integer(node: Node, a: Op, b: Op, a_zero: Op | None = None, b_zero: Op | None = None) -> Op:
    if a_zero is not None and a_zero.type.rank == 1 and a_zero.type.size > 1:
        a_zero = reshaped(a_zero, (a_zero.type.size, 1))
    return ops.MatMul(_centred(a, a_zero), _centred(b, b_zero))


def into_weight(product: Op, factor: Op) -> Op | None:
    """(x @ W) · c as x @ (W · c), the weight's floats, for a number or a number for each column.

    Of what `matmul_integer` gives alone: elsewhere W's format would tell what a secret row is.
    """
    held = [each for each in walk_from(factor) if not each.operands]
    if not isinstance(product, ops.MatMul) or not all(isinstance(each, Const) for each in held):
        return None
    weight, columns = product.b, product.type.shape[-1]
    if not isinstance(weight, Const) or factor.type.shape[-1:] not in ((), (1,), (columns,)):
        return None
    if factor.type.size != math.prod(factor.type.shape[-1:]):
        return None
    scale = constant_value(factor).reshape(-1)
    secret = weight.secret or any(isinstance(each, Const) and each.secret for each in held)
    value = np.asarray(weight.value * scale, np.float32)
    return ops.MatMul(product.a, Const(value, secret, name=weight.name))


def conv_integer(node: Node, x: Op, w: Op, x_zero: Op | None = None, w_zero: Op | None = None) -> Op:
    if w_zero is not None and w_zero.type.size > 1:
        w_zero = reshaped(w_zero, (w_zero.type.size, *(1,) * (w.type.rank - 1)))
    return conv(node, _centred(x, x_zero), _centred(w, w_zero))


def qlinear_matmul(
    node: Node,
    a: Op,
    a_scale: Op,
    a_zero: Op,
    b: Op,
    b_scale: Op,
    b_zero: Op,
    y_scale: Op,
    y_zero: Op,
    low: Op,
    high: Op,
) -> Op:
    if a_scale.type.size > 1 or y_scale.type.size > 1:
        raise Unsupported("has one scale a row; quantize activations with one scale")
    columns = Node("", node.opset, {"axis": -1}, ())
    product = ops.MatMul(dequantise(node, a, a_scale, a_zero), dequantise(columns, b, b_scale, b_zero))
    return quantise(node, product, y_scale, y_zero, low, high)


def product(node: Node, x: Op, weight: Op, bias: Op | None = None) -> Op:
    """Of a weight that was unpacked."""
    wide = reshaped(x, (1, *x.type.shape)) if x.type.rank == 1 else x
    out: Op = ops.MatMul(wide, weight)
    out = out if x.type.rank > 1 else reshaped(out, out.type.shape[1:])
    return out if bias is None else ops.Add(out, bias)


def scaled_product(
    node: Node, a: Op, weight: Op, scale: Op, zero: Op | None = None, bias: Op | None = None
) -> Op:
    """Of an activation in 8 bits and a weight that was unpacked."""
    return product(node, dequantise(node, a, scale, zero), weight, bias)


def attention(
    node: Node,
    x: Op,
    weights: Op,
    bias: Op | None,
    scale: Op,
    mask: Op | None = None,
    zero: Op | None = None,
    past: Op | None = None,
) -> tuple[Op | None, ...]:
    return fused.attention(node, dequantise(node, x, scale, zero), weights, bias, mask, past)


def _along(node: Node, x: Op, scale: Op) -> _Along:
    if node.get("block_size", 0):
        raise Unsupported("quantizes activations by blocks; quantize them with one scale")
    return _Along(x, axis_of(x, node.get("axis", 1)) if scale.type.size > 1 else None)


class _Along:
    """A scale or zero point, one number or one for each place on an axis, as it broadcasts."""

    def __init__(self, x: Op, axis: int | None) -> None:
        self.shape = () if axis is None else (x.type.shape[axis], *(1,) * (x.type.rank - axis - 1))

    def __call__(self, each: Op) -> Op:
        if each.type.size == 1:
            return reshaped(each, ())
        return reshaped(each, self.shape)


def _centred(x: Op, zero: Op | None) -> Op:
    x = _float(x)
    if zero is None or _is_zero(zero):
        return x
    if isinstance(x, Const) and isinstance(zero, Const):
        return Const(x.value - zero.value, x.secret or zero.secret, name=x.name)
    return ops.Sub(x, _float(zero))


def _float(x: Op) -> Op:
    if isinstance(x, Const) and x.type.num != FLOAT:
        return Const(x.value.astype(np.float32), x.secret, name=x.name)
    return x if x.type.num == FLOAT else ops.Cast(x, FLOAT)


def _is_zero(zero: Op) -> bool:
    """A public 0; what a secret number is must not be seen in the graph."""
    return isinstance(zero, Const) and not zero.secret and not zero.value.any()


def _same(a: Op, b: Op) -> bool:
    """Whether two scales or zero points are one tensor of the model; or equal, where they are public."""
    if isinstance(a, ops.Reshape) and isinstance(b, ops.Reshape):
        return a.type == b.type and _same(a.x, b.x)
    if not isinstance(a, Const) or not isinstance(b, Const):
        return a is b
    may_be_compared = not (a.secret or b.secret) or bool(a.name and a.name == b.name)
    return a is b or (may_be_compared and np.array_equal(a.value, b.value))
