"""Slices before what they leave little of: what moves, what stays, and that values do not change."""

from __future__ import annotations

import numpy as np
import pytest
from rewriting import becomes, graph, inp, kinds, num, refuses, row, same_value

from ppc.frontend.ir import ops
from ppc.frontend.ir.graph import Graph
from ppc.passes.slice_early import slice_early

X = inp(1, 4, 3)
W = ops.Const(np.arange(6, dtype=np.float32).reshape(3, 2), True)


def last(x, axis=1):
    size = x.type.shape[axis]
    return ops.Slice(x, (size - 1,), (size,), (axis,), (1,))


def test_a_product_is_made_of_the_rows_that_are_read():
    becomes(
        slice_early,
        graph(last(ops.MatMul(X, W))),
        "%0 = Input(x)\n"
        "%1 = Slice(%0, starts=(3), ends=(4), axes=(1), steps=(1))\n"
        "%2 = Const(secret)\n"
        "%3 = MatMul(%1, %2)",
    )


NORM = ops.LayerNorm(X, row(1, 2, 3), row(0, 1, 0), 1e-5)


@pytest.mark.parametrize(
    "x",
    [
        ops.Add(X, row(1, 2, 3)),
        ops.Mul(X, inp(1, 1, 3, name="z")),
        ops.Softmax(X, -1),
        ops.RMSNorm(X, row(1, 2, 3), 1e-5),
        NORM,
        ops.Reshape(X, (1, 4, 3, 1)),
        ops.Transpose(X, (2, 1, 0)),
        ops.Concat((X, inp(1, 4, 1, name="z")), 2),
        ops.Silu(ops.Add(X, num(1.0))),
        ops.MatMul(inp(2, 4, 3), inp(2, 3, 5, name="z")),
    ],
    ids=lambda each: type(each).__name__,
)
def test_what_keeps_rows_apart_comes_behind_the_slice(x):
    before = graph(last(x))
    after = slice_early(before).graph
    assert kinds(after).index("Slice") < kinds(after).index(type(x).__name__)
    same_value(before, after)


@pytest.mark.parametrize(
    "x",
    [
        ops.Softmax(ops.Transpose(X, (0, 2, 1)), -1),
        ops.Reshape(X, (1, 12)),
        ops.Concat((X, X), 1),
        ops.MatMul(inp(1, 3, 4, name="z"), X),
    ],
    ids=lambda each: type(each).__name__,
)
def test_what_mixes_them_stays(x):
    before = graph(last(x, x.type.rank - 1 if not isinstance(x, ops.Concat) else 1))
    assert slice_early(before).graph is before


def test_a_slice_that_leaves_all_of_it_stays():
    before = graph(ops.Slice(ops.Neg(X), (0,), (4,), (1,), (1,)))
    assert slice_early(before).graph is before


def test_what_another_reads_is_computed_whole():
    inner = ops.Neg(X)
    refuses(slice_early, graph(last(inner), inner), "has another reader")


def test_two_that_cut_one_value_are_one_reader():
    hidden = ops.MatMul(X, ops.Const(np.eye(3, dtype=np.float32), True))
    before = graph(last(ops.Add(hidden, ops.Silu(hidden))))
    after = slice_early(before).graph
    assert kinds(after).count("Slice") == 1
    assert after.outputs["y"].operands[0].type.shape == (1, 1, 3)
    same_value(before, after)


def test_what_moves_keeps_its_name():
    cut = last(ops.MatMul(X, W, name="logits"))
    after = slice_early(Graph((X,), {"logits": cut})).graph
    assert after.outputs["logits"].name == "logits"


def test_a_constant_is_cut_when_compiling():
    table = ops.Const(np.arange(12, dtype=np.float32).reshape(1, 4, 3), True)
    after = slice_early(graph(last(ops.Add(X, table)))).graph
    (cut,) = [op for op in after.outputs["y"].operands if isinstance(op, ops.Const)]
    assert cut.secret
    assert cut.value.tolist() == [[[9, 10, 11]]]
