"""Norms, and what ONNX Runtime's optimizer joins to them."""

from __future__ import annotations

import numpy as np

from ppc.frontend.ir import ops
from ppc.frontend.ir.graph import INT, Op
from ppc.frontend.ir.ops import Const
from ppc.frontend.ops.node import Node, axis_of
from ppc.frontend.ops.structure import reshaped, sliced


def layer_norm(node: Node, x: Op, gamma: Op, beta: Op | None = None) -> Op:
    return _layer_norm(x, gamma, beta, axis_of(x, node.get("axis", -1)), float(node.get("epsilon", 1e-5)))


def rms_norm(node: Node, x: Op, gamma: Op) -> Op:
    return _rms_norm(x, gamma, axis_of(x, node.get("axis", -1)), float(node.get("epsilon", 1e-5)))


def _layer_norm(x: Op, gamma: Op, beta: Op | None, axis: int, epsilon: float) -> Op:
    rows, gamma, shift = _rows(x, gamma, beta, axis)
    return reshaped(ops.LayerNorm(rows, gamma, shift, epsilon), x.type.shape)


def _rms_norm(x: Op, gamma: Op, axis: int, epsilon: float) -> Op:
    rows, gamma, _ = _rows(x, gamma, None, axis)
    return reshaped(ops.RMSNorm(rows, gamma, epsilon), x.type.shape)


def _rows(x: Op, gamma: Op, beta: Op | None, axis: int) -> tuple[Op, Op, Op]:
    """Several normalized axes as one last axis, with scale and shift as rows of it."""
    row = x.type.shape[axis:]
    n = int(np.prod(row))
    shift = Const(np.zeros(n, np.float32)) if beta is None else reshaped(_widened(beta, row), (n,))
    return reshaped(x, (*x.type.shape[:axis], n)), reshaped(_widened(gamma, row), (n,)), shift


def _widened(x: Op, shape: tuple[int, ...]) -> Op:
    return x if x.type.size == int(np.prod(shape)) else ops.Broadcast(x, shape)


Outputs = tuple[Op | None, ...]
"""Without the mean and the deviation of a norm, which are for training."""


def skip_layer_norm(
    node: Node, x: Op, skip: Op, gamma: Op, beta: Op | None = None, bias: Op | None = None
) -> Outputs:
    total = _sum(x, skip, bias)
    out = _layer_norm(total, gamma, beta, x.type.rank - 1, float(node.get("epsilon", 1e-12)))
    return out, None, None, total


def skip_rms_norm(node: Node, x: Op, skip: Op, gamma: Op, bias: Op | None = None) -> Outputs:
    total = _sum(x, skip, bias)
    out = _rms_norm(total, gamma, x.type.rank - 1, float(node.get("epsilon", 1e-12)))
    return out, None, None, total


def _sum(x: Op, skip: Op, bias: Op | None) -> Op:
    total = ops.Add(x, skip)
    return total if bias is None else ops.Add(total, bias)


def embed_layer_norm(
    node: Node,
    ids: Op,
    segments: Op | None,
    words: Op,
    positions: Op,
    kinds: Op | None,
    gamma: Op,
    beta: Op,
    mask: Op | None = None,
    places: Op | None = None,
) -> Outputs:
    """BERT's embedding: the rows of three tables, normalized; and how many tokens the mask lets stand."""
    tokens = ids.type.shape[-1]
    if places is None:
        rows = sliced(positions, (0,), (tokens,), (0,), (1,))
    else:
        rows = ops.Gather(positions, places, 0)
    total: Op = ops.Add(ops.Gather(words, ids, 0), rows)
    if kinds is not None:
        at = Const(np.zeros(ids.type.shape, np.int64)) if segments is None else segments
        total = ops.Add(total, ops.Gather(kinds, at, 0))
    out = _layer_norm(total, gamma, beta, 2, float(node.get("epsilon", 1e-12)))
    count: Op = Const(np.zeros(ids.type.shape[:1], np.int64))
    if mask is not None:
        count = ops.ReduceSum(mask if mask.type.num == INT else ops.Cast(mask, INT), (1,), False)
    return out, count, total
