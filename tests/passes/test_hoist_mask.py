"""Masks come out of the biases that swallowed them; what could be seen again stays."""

from __future__ import annotations

import numpy as np
import pytest
from rewriting import graph, inp, num, same_value

from ppc.frontend.ir import ops
from ppc.frontend.ir.graph import BOOL, Graph, Input, Op, walk, walk_from
from ppc.passes.hoist_mask import hoist_mask

R = np.random.default_rng(0)
BIAS = ops.Const(R.normal(size=(4, 4)).astype(np.float32), True)
KEPT = Input((1, 4), BOOL, name="kept")
MASK = inp(1, 4, name="mask")
LOW = num(-1e30)


def scores() -> Op:
    return ops.MatMul(inp(4, 3), ops.Const(R.normal(size=(3, 4)).astype(np.float32), True))


def outermost(g: Graph) -> Op:
    (softmax,) = (op for op in walk(g) if isinstance(op, ops.Softmax))
    return softmax.x


MASKED = {
    "chosen": lambda s: ops.Add(s, ops.Where(KEPT, BIAS, LOW)),
    "chosen, first": lambda s: ops.Add(ops.Where(KEPT, BIAS, LOW), s),
    "chosen where masked": lambda s: ops.Add(s, ops.Where(ops.Not(KEPT), LOW, BIAS)),
    "added to a bias": lambda s: ops.Add(s, ops.Add(BIAS, MASK)),
    "a bias added": lambda s: ops.Add(s, ops.Add(MASK, BIAS)),
    "subtracted": lambda s: ops.Sub(s, ops.Mul(MASK, num(3.0))),
}


@pytest.mark.parametrize("name", MASKED)
def test_the_mask_comes_out(name):
    before = graph(ops.Softmax(MASKED[name](scores())))
    after = hoist_mask(before).graph
    same_value(before, after)
    top = outermost(after)
    assert isinstance(top, ops.Where | ops.Add)
    assert any(not {BIAS, *(op for op in walk(after) if isinstance(op, ops.MatMul))} & set(walk_from(part))
               for part in top.operands)  # fmt: skip


KEPT_AS_THEY_ARE = {
    "a mild choice": lambda s: ops.Add(s, ops.Where(KEPT, BIAS, num(-1.0))),
    "a mask already outermost": lambda s: ops.Add(ops.Add(s, BIAS), MASK),
    "a choice by nobody's bit": lambda s: ops.Add(s, ops.Where(ops.Greater(s, BIAS), BIAS, LOW)),
    "a bias alone": lambda s: ops.Add(s, BIAS),
    "a difference of shared values": lambda s: ops.Sub(s, ops.Add(s, BIAS)),
}


@pytest.mark.parametrize("name", KEPT_AS_THEY_ARE)
def test_what_is_no_swallowed_mask_stays(name):
    assert hoist_mask(graph(ops.Softmax(KEPT_AS_THEY_ARE[name](scores())))).count == 0


def test_without_a_softmax_it_stays():
    assert hoist_mask(graph(ops.Tanh(MASKED["chosen"](scores())))).count == 0
