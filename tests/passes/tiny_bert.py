"""One layer of BERT with random weights, small enough to print: the graph that the passes are tested on."""

from __future__ import annotations

import numpy as np

from ppc.frontend.ir import ops
from ppc.frontend.ir.graph import FLOAT, INT, Graph, Input

SEQ, WIDTH, HEADS, VOCABULARY = 6, 16, 2, 40


def weight(rng, *shape, spread=0.3, name=""):
    return ops.Const(rng.normal(0, spread, shape).astype(np.float32), True, name=name)


def norm(rng, x, name=""):
    gamma = ops.Const(rng.uniform(0.5, 1.5, WIDTH).astype(np.float32), True)
    return ops.LayerNorm(x, gamma, weight(rng, WIDTH), eps=1e-5, name=name)


def heads(x, perm):
    return ops.Transpose(ops.Reshape(x, (1, SEQ, HEADS, WIDTH // HEADS)), perm)


def tiny_bert(seed=0):
    """Token ids and a mask in, a mean-pooled vector out."""
    rng = np.random.default_rng(seed)
    ids, mask = Input((1, SEQ), INT, name="input_ids"), Input((1, SEQ), INT, name="attention_mask")
    table = weight(rng, VOCABULARY, WIDTH, spread=1.0, name="table")
    x = norm(rng, ops.Add(ops.Gather(table, ids), weight(rng, 1, SEQ, WIDTH)), name="embedded")

    def dense(x, width, name=""):
        return ops.Add(ops.MatMul(x, weight(rng, x.type.shape[-1], width)), weight(rng, width), name=name)

    q, k, v = (heads(dense(x, WIDTH), p) for p in ((0, 2, 1, 3), (0, 2, 3, 1), (0, 2, 1, 3)))
    scores = ops.Div(ops.MatMul(q, k), ops.Const(np.float32(np.sqrt(WIDTH // HEADS))))
    kept = ops.Cast(ops.Reshape(mask, (1, 1, 1, SEQ)), FLOAT)
    added = ops.Mul(ops.Sub(ops.Const(np.float32(1)), kept), ops.Const(np.float32(-3.4e38)))
    attention = ops.MatMul(ops.Softmax(ops.Add(scores, added)), v)
    joined = ops.Reshape(ops.Transpose(attention, (0, 2, 1, 3)), (1, SEQ, WIDTH))
    y = norm(rng, ops.Add(dense(joined, WIDTH), x), name="attended")
    z = norm(rng, ops.Add(dense(ops.Gelu(dense(y, 32, name="wide")), WIDTH), y), name="encoded")
    expanded = ops.Cast(ops.Broadcast(ops.Reshape(mask, (1, SEQ, 1)), (1, SEQ, WIDTH)), FLOAT)
    total = ops.ReduceSum(ops.Mul(z, expanded), axes=(1,), keepdims=False)
    count = ops.Clip(ops.ReduceSum(expanded, axes=(1,), keepdims=False), lo=1e-9)
    return Graph((ids, mask), {"pooled": ops.Div(total, count, name="pooled")})


def feeds(length=SEQ, seed=1):
    rng = np.random.default_rng(seed)
    return {
        "input_ids": rng.integers(0, VOCABULARY, (1, SEQ)),
        "attention_mask": (np.arange(SEQ) < length).astype(np.int64)[None],
    }


def cosine(a, b):
    a, b = np.ravel(a), np.ravel(b)
    return float(a @ b / np.linalg.norm(a) / np.linalg.norm(b))
