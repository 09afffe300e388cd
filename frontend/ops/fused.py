"""What ONNX Runtime's optimizer and its model builder make of attention, written out again.

    Attention             x @ W of queries, keys and values at once, then attention by heads
    MultiHeadAttention    of queries, keys and values that are there already, apart or packed
    GroupQueryAttention   causal, with fewer keys than queries and with rotary embedding, over a whole prompt

A cache is taken where it is empty. Masks are raw, one number a key, or additive, or how many keys stand.
"""

from __future__ import annotations

import math

import numpy as np

from ppc.frontend.ir import ops
from ppc.frontend.ir.graph import BOOL, Op
from ppc.frontend.ir.ops import Const
from ppc.frontend.ops.attention import additive, apart, attended, joined, rotary_embedding, triangle
from ppc.frontend.ops.node import Node, Unsupported
from ppc.frontend.ops.structure import reshaped, sliced

_FILLER = -10000.0
"""What masked scores get by default."""

Outputs = tuple[Op | None, ...]


def attention(
    node: Node,
    x: Op,
    weights: Op,
    bias: Op | None = None,
    mask: Op | None = None,
    past: Op | None = None,
    added: Op | None = None,
    past_length: Op | None = None,
) -> Outputs:
    _no_cache(past)
    if node.get("do_rotary", 0):
        raise Unsupported("turns queries and keys by itself; export with a RotaryEmbedding before it")
    product: Op = ops.MatMul(x, weights)
    if bias is not None:
        product = ops.Add(product, bias)
    wide = product.type.shape[-1]
    sizes: tuple[int, ...] = tuple(node.get("qkv_hidden_sizes", ())) or (wide // 3,) * 3
    if len(sizes) != 3 or sum(sizes) != wide:
        raise Unsupported(f"has sizes {list(sizes)} of queries, keys and values in {wide} columns")
    q, k, v = (apart(each, node.get("num_heads", 0)) for each in _parts(product, sizes))
    present = None
    if len(node.outputs) > 1 and node.outputs[1] and k.type == v.type:
        present = ops.Concat(tuple(reshaped(each, (1, *each.type.shape)) for each in (k, v)), 0)
    return _heads_attend(node, q, k, v, mask, added), present


def multi_head_attention(
    node: Node,
    query: Op,
    key: Op | None = None,
    value: Op | None = None,
    bias: Op | None = None,
    mask: Op | None = None,
    added: Op | None = None,
    past_key: Op | None = None,
    past_value: Op | None = None,
    past_length: Op | None = None,
    beams: Op | None = None,
) -> Outputs:
    _no_cache(past_key, past_value)
    if beams is not None:
        raise Unsupported("searches in beams; export without a beam search")
    if len(node.outputs) > 3 and node.outputs[3]:
        raise Unsupported("gives its scores as a further output")
    parts = _unpacked(query, key, value)
    if bias is not None:
        parts = _biased(parts, bias)
    heads = node.get("num_heads", 0)
    q, k, v = (each if each.type.rank == 4 else apart(each, heads) for each in parts)
    return _heads_attend(node, q, k, v, mask, added), k, v


def _unpacked(query: Op, key: Op | None, value: Op | None) -> tuple[Op, ...]:
    """Queries, keys and values, each [batch, tokens, heads·d] or [batch, heads, tokens, d]."""
    if query.type.rank == 5 and key is None and value is None:
        return tuple(_packed(query, i) for i in range(3))
    if key is not None and key.type.rank == 5 and value is None:
        return query, _packed(key, 0), _packed(key, 1)
    if key is None or value is None or query.type.rank != 3:
        raise Unsupported(f"has queries {query.type} and not both keys and values")
    return query, key, value


def _packed(x: Op, i: int) -> Op:
    """[batch, tokens, heads, n, d] to the i-th of n, [batch, tokens, heads·d]"""
    batch, tokens, heads, _, d = x.type.shape
    return reshaped(sliced(x, (i,), (i + 1,), (3,), (1,)), (batch, tokens, heads * d))


def _biased(parts: tuple[Op, ...], bias: Op) -> tuple[Op, ...]:
    """Each with its part of the bias."""
    sizes = tuple(
        each.type.shape[-1] if each.type.rank == 3 else each.type.shape[1] * each.type.shape[3]
        for each in parts
    )
    if sum(sizes) != bias.type.size:
        raise Unsupported(f"has a bias {bias.type} for {sum(sizes)} columns")
    rows = [
        part if each.type.rank == 3 else reshaped(part, (each.type.shape[1], 1, each.type.shape[3]))
        for each, part in zip(parts, _parts(bias, sizes), strict=True)
    ]
    return tuple(ops.Add(each, row) for each, row in zip(parts, rows, strict=True))


def group_query_attention(
    node: Node,
    query: Op,
    key: Op | None = None,
    value: Op | None = None,
    past_key: Op | None = None,
    past_value: Op | None = None,
    last: Op | None = None,
    total: Op | None = None,
    cos: Op | None = None,
    sin: Op | None = None,
    places: Op | None = None,
    added: Op | None = None,
    *others: Op | None,
) -> Outputs:
    """Which of the tokens are padding it is not told but by ``last``: padding is on the right, where a causal
    mask keeps it from every token before."""
    _no_cache(past_key, past_value)
    for each in others:
        if each is not None:
            raise Unsupported("has a sink, norms of its own or a cache in few bits, which are not compiled")
    if node.get("smooth_softmax", 0) == 1 or not node.get("causal", 1):
        raise Unsupported("has a smooth softmax, or is not causal")
    heads, shared = node.get("num_heads", 0), node.get("kv_num_heads", 0)
    if key is None or value is None:
        d = query.type.shape[-1] // max(1, heads + 2 * shared)
        query, key, value = _parts(query, (heads * d, shared * d, shared * d))
    q, k, v = apart(query, heads), apart(key, shared), apart(value, shared)
    tokens = q.type.shape[2]
    if isinstance(total, Const) and total.value.size == 1 and int(total.value.item()) != tokens:
        raise Unsupported(f"sees {int(total.value.item())} tokens and is given {tokens}: it reads a cache")
    if node.get("do_rotary", 0):
        if cos is None or sin is None:
            raise Unsupported("turns its queries without being given angles")
        at = Const(np.arange(tokens)[None]) if places is None else places
        turning = Node("", node.opset, {"interleaved": node.get("rotary_interleaved", 0)}, ())
        q, k = (_turned(turning, each, at, cos, sin) for each in (q, k))
    masks = [additive(triangle(tokens, tokens, width=node.get("local_window_size", -1)))]
    if added is not None:
        masks.append(added)
    scale, cap = node.get("scale", 0.0), node.get("softcap", 0.0)
    return joined(attended(q, k, v, masks, scale, cap)), k, v


def rotary(node: Node, x: Op, places: Op, cos: Op, sin: Op) -> Op:
    if node.get("scale", 1.0) != 1 or node.get("is_packed_batching", 0):
        raise Unsupported("scales what it turns, or packs its batch")
    heads = node.get("num_heads", 0) or x.type.shape[-1] // (2 * cos.type.shape[-1])
    if x.type.rank == 4:
        return _turned(node, x, places, cos, sin)
    return joined(_turned(node, apart(x, heads), places, cos, sin))


def _turned(node: Node, x: Op, places: Op, cos: Op, sin: Op) -> Op:
    """[batch, heads, tokens, d] by the angles of ``places``, one a token or the first token's."""
    tokens = x.type.shape[2]
    if places.type.rank == 1:
        places = ops.Add(reshaped(places, (1, 1)), Const(np.arange(tokens)[None]))
    said = {"interleaved": node.get("interleaved", 0), "rotary_embedding_dim": 2 * cos.type.shape[-1]}
    return rotary_embedding(Node("", node.opset, said, ()), x, cos, sin, places)


def _heads_attend(node: Node, q: Op, k: Op, v: Op, mask: Op | None, added: Op | None) -> Op:
    filler = node.get("mask_filter_value", _FILLER)
    rows, columns = q.type.shape[2], k.type.shape[2]
    masks = [] if mask is None else [additive(_kept(mask, q.type.shape[0], rows, columns), filler)]
    if node.get("unidirectional", 0):
        masks.append(additive(triangle(rows, columns, columns - rows)))
    if added is not None:
        masks.append(added)
    return joined(attended(q, k, v, masks, node.find("scale", float)))


def _kept(mask: Op, batch: int, rows: int, columns: int) -> Op:
    """Which key each query sees, [batch, 1, 1 or rows, columns]."""
    shape = mask.type.shape
    if shape == (batch, columns):
        return reshaped(_truth(mask), (batch, 1, 1, columns))
    if shape == (batch, rows, columns):
        return reshaped(_truth(mask), (batch, 1, rows, columns))
    if shape in ((batch,), (2 * batch,)):
        places = Const(np.arange(columns)[None])
        ends = reshaped(sliced(mask, (0,), (batch,), (0,), (1,)), (batch, 1))
        kept: Op = ops.Less(places, ends)
        if shape != (batch,):  # padding on the left: where each begins
            starts = reshaped(sliced(mask, (batch,), (2 * batch,), (0,), (1,)), (batch, 1))
            kept = ops.And(kept, ops.GreaterOrEqual(places, starts))
        return reshaped(kept, (batch, 1, 1, columns))
    raise Unsupported(f"has a mask {mask.type} for {batch} × {rows} queries and {columns} keys")


def _truth(mask: Op) -> Op:
    return mask if mask.type.num == BOOL else ops.Cast(mask, BOOL)


def _parts(x: Op, sizes: tuple[int, ...]) -> tuple[Op, ...]:
    axis, ends = x.type.rank - 1, np.cumsum(sizes).tolist()
    return tuple(
        sliced(x, (end - size,), (end,), (axis,), (1,)) for end, size in zip(ends, sizes, strict=True)
    )


def _no_cache(*past: Op | None) -> None:
    if any(each is not None and math.prod(each.type.shape) for each in past):
        raise Unsupported("reads a cache of keys and values; export with use_cache=False")
