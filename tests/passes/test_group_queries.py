"""Queries that share a key as rows of one product."""

from __future__ import annotations

import pytest
from rewriting import inp, kinds, same_value, text, walk_inputs

from ppc.frontend.ir import ops
from ppc.frontend.ir.graph import Graph, walk
from ppc.passes.group_queries import group_queries
from ppc.runtime.base.ring import Fixed

TIMES, KEYS, ROWS, PAST, HEAD = 3, 2, 4, 5, 6
Q = inp(1, KEYS * TIMES, ROWS, HEAD, name="q")
K = inp(1, KEYS, PAST, HEAD, name="k")


def repeated(k, times=TIMES):
    apart = ops.Reshape(k, (1, KEYS, 1, PAST, HEAD))
    wide = ops.Broadcast(apart, (1, KEYS, times, PAST, HEAD))
    return ops.Reshape(wide, (1, KEYS * times, PAST, HEAD))


def rewritten(before: Graph) -> Graph:
    return before.mapped(group_queries(before))


def graph(y, *more):
    return Graph((Q, K), {"y": y, **{f"z{i}": each for i, each in enumerate(more)}})


def test_keys_that_repeat_are_read_once():
    before = graph(ops.MatMul(Q, ops.Transpose(repeated(K), (0, 1, 3, 2))))
    after = rewritten(before)
    assert text(after).splitlines()[2:] == [
        "%2 = Reshape(%0, shape=(1,2,12,6))",
        "%3 = Reshape(%1, shape=(1,2,1,5,6))",
        "%4 = Reshape(%3, shape=(1,2,5,6))",
        "%5 = Transpose(%4, perm=(0,1,3,2))",
        "%6 = MatMul(%2, %5)",
        "%7 = Reshape(%6, shape=(1,6,4,5))",
    ]
    same_value(before, after)


def test_values_that_repeat_too():
    weights = inp(1, KEYS * TIMES, ROWS, PAST, name="q")
    before = Graph((weights, K), {"y": ops.MatMul(weights, repeated(K), name="mixed")})
    after = rewritten(before)
    assert "Broadcast" not in kinds(after)
    assert after.outputs["y"].name == "mixed"
    same_value(before, after)


def test_the_way_there_may_change_the_ring():
    num = Fixed(20, 4)
    key = ops.Rescale(ops.Transpose(repeated(ops.Cast(K, Fixed(24, 4))), (0, 1, 3, 2)), num)
    after = rewritten(graph(ops.MatMul(ops.Cast(Q, num), key)))
    (rescale,) = [op for op in walk(after) if isinstance(op, ops.Rescale)]
    assert rescale.type.shape == (1, KEYS, HEAD, PAST)


@pytest.mark.parametrize(
    "y",
    [
        ops.MatMul(inp(1, KEYS, ROWS, HEAD, name="q"), ops.Transpose(K, (0, 1, 3, 2))),
        ops.MatMul(inp(1, 1, ROWS, HEAD, name="q"), ops.Transpose(repeated(K), (0, 1, 3, 2))),
        ops.MatMul(Q, ops.Reshape(repeated(K), (1, KEYS * TIMES, HEAD, PAST))),
    ],
    ids=["nothing repeats", "the queries do", "what repeats is no matrix"],
)
def test_what_does_not_repeat_stays(y):
    before = Graph(walk_inputs(y), {"y": y})
    assert rewritten(before).outputs["y"] is y


def test_what_is_below_stays_the_same_op():
    product = ops.MatMul(Q, ops.Transpose(repeated(K), (0, 1, 3, 2)))
    new = group_queries(graph(ops.Neg(product), ops.Neg(K)))
    assert new[Q] is Q
    assert sum(new[op] is not op for op in new) == 2
