"""What a guard watches, and what has room for it."""

import math
from functools import cache

import pytest
import tiny_bert

from ppc import passes
from ppc.frontend.ir import ops
from ppc.frontend.ir.graph import walk
from ppc.passes.assign_scale import assign_scale
from ppc.passes.watched import ROOM, is_watched, roomy


@cache
def state(after: str = "calibrate_values") -> passes.State:
    feeds = [tiny_bert.feeds(n, n) for n in (6, 4)]
    return passes.run(tiny_bert.tiny_bert(), feeds=feeds, stop_after=after)


def watched(graph) -> list[str]:
    found = (op for op in walk(graph) if is_watched(op))
    return sorted("max" if isinstance(op, ops.ReduceMax) else op.spline.function for op in found)


def test_norms_and_softmaxes_are_watched_and_sums_of_exponentials_need_not_be():
    graph = state().graph
    functions = [op.spline.function for op in walk(graph) if isinstance(op, ops.Spline)]
    assert "reciprocal" in functions
    norms = sum(each in ("rsqrt", "octaves") for each in functions)
    maxima = sum(isinstance(op, ops.ReduceMax) for op in walk(graph))
    assert norms >= 2
    assert watched(graph) == sorted(["max"] * maxima + [f for f in functions if f in ("rsqrt", "octaves")])


def test_scores_and_their_distances_have_room():
    graph = state().graph
    held = roomy(graph)
    for op in walk(graph):
        if isinstance(op, ops.ReduceMax):
            assert {op, op.x} <= held
        if isinstance(op, ops.Sub) and isinstance(op.b, ops.ReduceMax):
            assert op in held
        if isinstance(op, ops.MatMul) and isinstance(op.b, ops.Const):
            assert op not in held, "what is multiplied to make scores keeps its ring"


@pytest.mark.parametrize("guard", [True, False])
def test_rings_of_scores_are_a_bit_wider_for_it(guard):
    s = state()
    fixed = assign_scale(s.graph, s.ranges, guard=guard)
    maxima = [op for op in walk(fixed.graph) if isinstance(op, ops.ReduceMax)]
    assert bool(fixed.watched) == guard
    for op in maxima:
        x = fixed.ranges[op.x]
        room = ROOM if guard else 1.0
        assert op.x.type.num.bits >= math.ceil(math.log2(room * (x.hi - x.lo))) + op.x.type.num.scale + 1
    if guard:
        assert sum(op.x.type.num.bits for op in maxima) > sum(
            op.x.type.num.bits
            for op in walk(assign_scale(s.graph, s.ranges, guard=False).graph)
            if isinstance(op, ops.ReduceMax)
        )


def test_what_is_watched_is_in_the_graph_and_has_an_end():
    fixed = state("check_range").fixed
    every = set(walk(fixed.graph))
    assert fixed.watched.keys() <= every
    for op, far in fixed.watched.items():
        reached = fixed.ranges[op if isinstance(op, ops.ReduceMax) else op.x].hi
        assert reached <= far <= 2 * reached
