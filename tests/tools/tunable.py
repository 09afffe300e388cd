"""Graphs that train in a second: an encoder with a head, all of it replaced too, and a decoder."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from text_model import word_tokenizer

from models.tiny_bert import Shape, tiny_bert
from ppc import passes
from ppc.frontend.emit.model import save
from ppc.frontend.ir import ops
from ppc.frontend.ir.graph import INT, Graph, Input, Op
from ppc.frontend.read.load import load
from ppc.passes.train.examples import Examples

TOKENS, WIDTH, ROWS = 6, 8, 20
CLASSES = 2


def secret(rng: np.random.Generator, *shape: int, spread: float = 0.4, name: str = "") -> ops.Const:
    return ops.Const(rng.normal(0, spread, shape).astype(np.float32), True, name=name)


def classifier(seed: int = 0, tokens: int = TOKENS) -> Graph:
    """Ids, a mask and types to logits, as the pipeline has it before a profile."""
    shape = Shape(layers=1, width=WIDTH, vocabulary=ROWS, positions=TOKENS)
    graph = load(tiny_bert(shape, seed=seed), seq_len=tokens, outputs=("sentence_embedding",))
    rng = np.random.default_rng(seed)
    (pooled,) = graph.outputs.values()
    head = ops.MatMul(pooled, secret(rng, WIDTH, CLASSES, name="head.weight"))
    logits = ops.Add(head, secret(rng, CLASSES, name="head.bias"), name="logits")
    return passes.run(Graph(graph.inputs, {"logits": logits}), stop_after="fold_scale").graph


def friendly(graph: Graph) -> Graph:
    """Everything replaced, fitted to random inputs."""
    return passes.run(graph, passes.Options(profile="friendly"), stop_after="apply_profile").graph


def decoder(seed: int = 0) -> Graph:
    """Ids to logits for each place: RMSNorm, causal attention of one head, SiLU."""
    rng = np.random.default_rng(seed)
    ids = Input((1, TOKENS), INT, name="input_ids")

    def dense(x: Op, *, rows: int = WIDTH, cols: int = WIDTH) -> Op:
        return ops.MatMul(x, secret(rng, rows, cols))

    def norm(x: Op, name: str) -> Op:
        return ops.RMSNorm(x, secret(rng, WIDTH), eps=1e-5, name=name)

    x: Op = ops.MatMul(ops.OneHot(ids, ROWS), secret(rng, ROWS, WIDTH, spread=1.0, name="table"))
    turned = ops.Mul(norm(x, "before"), secret(rng, 1, TOKENS, WIDTH, spread=1.0, name="rotary"))
    causal = ops.Const(np.triu(np.full((TOKENS, TOKENS), -1e9, np.float32), 1), True, name="causal")
    scores = ops.Add(ops.MatMul(dense(turned), ops.Transpose(dense(turned), (0, 2, 1))), causal)
    x = ops.Add(x, ops.MatMul(ops.Softmax(scores, name="attention"), dense(turned)))
    x = ops.Add(x, dense(ops.Silu(dense(norm(x, "between"), cols=16), name="wide"), rows=16))
    return Graph((ids,), {"logits": ops.MatMul(norm(x, "after"), secret(rng, WIDTH, ROWS, name="head"))})


def examples(graph: Graph, count: int = 64, seed: int = 1) -> Examples:
    """Of a class that the mean of the ids tells; the rest is padding."""
    rng = np.random.default_rng(seed)
    kept = np.arange(TOKENS) < rng.integers(2, TOKENS + 1, (count, 1, 1))
    ids = rng.integers(1, ROWS, (count, 1, TOKENS)) * kept
    labels = (ids.sum(axis=(1, 2)) / kept.sum(axis=(1, 2)) > ROWS / 2).astype(np.int64)
    every = {"input_ids": ids, "attention_mask": kept.astype(np.int64), "token_type_ids": np.zeros_like(ids)}
    return Examples({each.name: every[each.name] for each in graph.inputs}, labels)


def table(path: Path, count: int, seed: int) -> None:
    """The same rule on words: a table of texts with labels."""
    rng = np.random.default_rng(seed)
    lines = ["sentence\tlabel"]
    for _ in range(count):
        ids = rng.integers(1, ROWS, rng.integers(2, TOKENS + 1))
        lines.append(" ".join(f"w{i}" for i in ids) + f"\t{int(ids.mean() > ROWS / 2)}")
    path.write_text("\n".join(lines) + "\n")


def folder(at: Path) -> Path:
    """m.onnx, which is not trained, its tokenizer.json, train.tsv and dev.tsv."""
    save(classifier(), at / "m.onnx")
    word_tokenizer(at / "tokenizer.json", ROWS)
    table(at / "train.tsv", 200, seed=1)
    table(at / "dev.tsv", 60, seed=2)
    return at


__all__ = [
    "CLASSES",
    "ROWS",
    "TOKENS",
    "WIDTH",
    "classifier",
    "decoder",
    "examples",
    "folder",
    "friendly",
    "secret",
    "table",
]
