"""Attention and rotary embedding as single operators, which opset 23 has, written out.

ONNX Runtime's own, of other operands and masks, are written out in `fused.py` with the parts that are here.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from ppc.frontend.ir import ops
from ppc.frontend.ir.graph import BOOL, MAX_ELEMENTS, Op
from ppc.frontend.ir.ops import Const
from ppc.frontend.ops.node import Node, Unsupported, number
from ppc.frontend.ops.structure import broadcast_to, reshaped, sliced


def attention(
    node: Node,
    q: Op,
    k: Op,
    v: Op,
    mask: Op | None = None,
    past_key: Op | None = None,
    past_value: Op | None = None,
) -> Op:
    """softmax(c·q @ kᵀ + mask) @ v by heads; what is masked gets −∞."""
    if past_key is not None or past_value is not None:
        raise Unsupported("reads a cache of keys and values; export with use_cache=False")
    if node.get("qk_matmul_output_mode", 0) and len(node.outputs) > 3 and node.outputs[3]:
        raise Unsupported("gives its scores as a further output")
    flat = q.type.rank == 3
    if flat:
        q = apart(q, node.get("q_num_heads", 0))
        k, v = (apart(each, node.get("kv_num_heads", 0)) for each in (k, v))
    if q.type.rank != 4:
        raise Unsupported(f"of {q.type}; it has three axes or four")
    out = attended(q, k, v, _masks(node, q, k, mask), node.find("scale", float), node.get("softcap", 0.0))
    return joined(out) if flat else out


def attended(
    q: Op, k: Op, v: Op, masks: Sequence[Op], scale: float | None = None, cap: float | None = None
) -> Op:
    """softmax(cap(scale·q @ kᵀ) + masks) @ v, all [batch, heads, tokens, d]; queries may share keys."""
    groups, uneven = divmod(q.type.shape[1], k.type.shape[1])
    if uneven:
        raise Unsupported(f"has {q.type.shape[1]} heads that share {k.type.shape[1]} keys")
    k, v = (_repeated(each, groups) for each in (k, v))
    scale = scale or 1 / math.sqrt(q.type.shape[-1])
    scores: Op = ops.Mul(ops.MatMul(q, ops.Transpose(k, (0, 1, 3, 2))), number(scale))
    if cap:
        scores = ops.Mul(ops.Tanh(ops.Mul(scores, number(1 / cap))), number(cap))
    for each in masks:
        scores = ops.Add(scores, each)
    return ops.MatMul(ops.Softmax(scores, -1), v)


def _masks(node: Node, q: Op, k: Op, mask: Op | None) -> list[Op]:
    """What is added to the scores; a causal mask and a boolean one are joined."""
    rows, columns = q.type.shape[2], k.type.shape[2]
    causal = triangle(rows, columns) if node.get("is_causal", 0) else None
    if mask is not None and mask.type.shape[-1] != columns:
        raise Unsupported(f"has a mask {mask.type} for {columns} keys")
    if mask is not None and mask.type.num != BOOL:
        return [mask] if causal is None else [mask, additive(causal)]
    kept = causal if mask is None else mask if causal is None else ops.And(mask, causal)
    return [] if kept is None else [additive(kept)]


def triangle(rows: int, columns: int, shift: int = 0, width: int = 0) -> Op:
    """Which keys a query sees of those before it, ``width`` at most where that is not 0."""
    if rows * columns > MAX_ELEMENTS:
        raise Unsupported(f"has {rows:,} queries of {columns:,} keys")
    kept = np.tri(rows, columns, shift, dtype=np.bool_)
    return Const(kept & ~np.tri(rows, columns, shift - width, dtype=np.bool_) if width > 0 else kept)


def additive(kept: Op, filler: float = -math.inf) -> Op:
    return ops.Where(kept, number(0.0), number(filler))


def apart(x: Op, heads: int) -> Op:
    """[batch, tokens, heads·d] to [batch, heads, tokens, d]"""
    if not heads or x.type.shape[-1] % heads:
        raise Unsupported(f"does not say how many heads {x.type} has")
    split = (*x.type.shape[:-1], heads, x.type.shape[-1] // heads)
    return ops.Transpose(reshaped(x, split), (0, 2, 1, 3))


def joined(x: Op) -> Op:
    """[batch, heads, tokens, d] to [batch, tokens, heads·d]"""
    rows = ops.Transpose(x, (0, 2, 1, 3))
    return reshaped(rows, (*rows.type.shape[:2], math.prod(rows.type.shape[2:])))


def _repeated(x: Op, times: int) -> Op:
    """Every head ``times`` times, for the queries that share it."""
    if times == 1:
        return x
    batch, heads, tokens, d = x.type.shape
    wide = broadcast_to(reshaped(x, (batch, heads, 1, tokens, d)), (batch, heads, times, tokens, d))
    return reshaped(wide, (batch, heads * times, tokens, d))


def rotary_embedding(node: Node, x: Op, cos: Op, sin: Op, positions: Op | None = None) -> Op:
    """Pairs of channels turned by the angle of their place."""
    flat = x.type.rank == 3
    turned = x if not flat else apart(x, node.get("num_heads", 0))
    if positions is not None:
        cos, sin = (ops.Gather(each, positions, 0) for each in (cos, sin))
    if cos.type.rank == 2:
        cos, sin = (reshaped(each, (1, *each.type.shape)) for each in (cos, sin))
    d = turned.type.shape[-1]
    size = node.get("rotary_embedding_dim", 0) or d
    if cos.type.shape[-1] * 2 != size or size > d:
        raise Unsupported(f"turns {size} of {d} channels by {cos.type.shape[-1]} angles")
    cos, sin = (reshaped(each, (each.type.shape[0], 1, *each.type.shape[1:])) for each in (cos, sin))
    paired = bool(node.get("interleaved", 0))
    half, step = (1, 2) if paired else (size // 2, 1)
    a = sliced(turned, (0,), (size if paired else half,), (3,), (step,))
    b = sliced(turned, (half,), (size,), (3,), (step,))
    real = ops.Sub(ops.Mul(a, cos), ops.Mul(b, sin))
    imaginary = ops.Add(ops.Mul(a, sin), ops.Mul(b, cos))
    if paired:
        pairs = tuple(reshaped(each, (*each.type.shape, 1)) for each in (real, imaginary))
        out: Op = reshaped(ops.Concat(pairs, 4), (*real.type.shape[:3], size))
    else:
        out = ops.Concat((real, imaginary), 3)
    if size < d:
        out = ops.Concat((out, sliced(turned, (size,), (d,), (3,), (1,))), 3)
    return joined(out) if flat else out
