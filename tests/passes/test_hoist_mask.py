"""Masks come out of the biases that swallowed them; what could be seen again stays."""

from __future__ import annotations

import numpy as np
import pytest
from rewriting import graph, inp, num, same_value

from ppc.frontend.ir import ops
from ppc.frontend.ir.graph import BOOL, Graph, Input, Op, walk, walk_from
from ppc.frontend.ir.reference import evaluate
from ppc.passes.hoist_mask import hoist_mask
from ppc.passes.masked import Masked

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


SCALE = ops.Const(np.array(0.37), True)
DEEP_MASK = ops.Mul(MASK, num(-1e4))


def twice(x: Op) -> Op:
    return ops.Reshape(ops.Concat((x, x), 0), (2, 4, 4))


COMES_THROUGH = {
    "a reshape": lambda s: ops.Reshape(ops.Add(s, DEEP_MASK), (2, 2, 4)),
    "a transpose": lambda s: ops.Transpose(ops.Where(KEPT, s, LOW), (1, 0)),
    "a broadcast": lambda s: ops.Broadcast(ops.Add(s, DEEP_MASK), (3, 4, 4)),
    "a slice": lambda s: ops.Slice(ops.Add(s, DEEP_MASK), (1,), (3,), (1,), (1,)),
    "places": lambda s: ops.Gather(ops.Where(KEPT, s, LOW), ops.Const(np.array([3, 0, 3])), 1),
    "a public scale": lambda s: ops.Mul(ops.Add(s, DEEP_MASK), num(0.5)),
    "the server's scale": lambda s: ops.Mul(ops.Add(s, DEEP_MASK), SCALE),
    "the server's scale, chosen": lambda s: ops.Mul(ops.Where(KEPT, s, LOW), SCALE),
    "a scale for each row": lambda s: ops.Mul(
        ops.Add(s, DEEP_MASK), ops.Const(R.uniform(0.5, 2, (4, 1)), True)
    ),
    "two negations": lambda s: ops.Neg(ops.Mul(ops.Add(s, DEEP_MASK), num(-3.0))),
    "a concatenation": lambda s: ops.Concat((s, ops.Add(s, DEEP_MASK)), 1),
    "two masks side by side": lambda s: ops.Concat((ops.Where(KEPT, s, LOW), ops.Add(s, DEEP_MASK)), 0),
    "a clip far below": lambda s: ops.Clip(ops.Add(s, DEEP_MASK), -1e9, None),
    "a maximum with a constant": lambda s: ops.Max(ops.Add(s, DEEP_MASK), ops.Const(np.array(-2e8), True)),
    "shared terms on both sides": lambda s: ops.Add(ops.Add(s, DEEP_MASK), ops.Where(KEPT, s, LOW)),
    "several": lambda s: twice(ops.Mul(ops.Sub(BIAS, ops.Mul(ops.Add(s, DEEP_MASK), num(-1.0))), SCALE)),
}


@pytest.mark.parametrize("name", COMES_THROUGH)
@pytest.mark.parametrize("reader", [ops.Softmax, ops.Relu, lambda x: ops.ReduceMax(x, (x.type.rank - 1,))])
def test_what_a_mask_comes_through(name, reader):
    before = graph(reader(COMES_THROUGH[name](scores())))
    done = hoist_mask(before)
    assert done.count == 1
    read = next(op for op in walk(done.graph) if isinstance(op, (ops.Softmax, ops.Relu, ops.ReduceMax)))
    parts = Masked().outermost(read.operands[0])
    assert parts.masks
    assert not {MASK, KEPT} & set(walk_from(parts.content))
    assert hoist_mask(done.graph).count == 0
    for seed in range(3):
        feeds = fed(before, seed)
        np.testing.assert_allclose(evaluate(done.graph, feeds)["y"], evaluate(before, feeds)["y"], atol=1e-9)


def fed(g: Graph, seed: int) -> dict[str, np.ndarray]:
    """A mask of 0 and 1, of which no row is 1 throughout; places that both masks keep."""
    random = np.random.default_rng(seed)
    masked = np.array([[0, seed % 2, 1, 0]])
    given = {"x": random.normal(size=(4, 3)), "mask": masked.astype(float), "kept": masked == 0}
    return {each.name: given[each.name] for each in g.inputs}


KEPT_AS_THEY_ARE = {
    "a mild choice": lambda s: ops.Add(s, ops.Where(KEPT, BIAS, num(-1.0))),
    "a mask already outermost": lambda s: ops.Add(ops.Add(s, BIAS), MASK),
    "a choice by nobody's bit": lambda s: ops.Add(s, ops.Where(ops.Greater(s, BIAS), BIAS, LOW)),
    "a bias alone": lambda s: ops.Add(s, BIAS),
    "a scale of either sign": lambda s: ops.Mul(
        ops.Add(s, DEEP_MASK), ops.Const(np.array([[1.0, -1, 2, 3]]))
    ),
    "a product of shared values": lambda s: ops.Mul(ops.Add(s, DEEP_MASK), ops.Sigmoid(s)),
    "a mild bound": lambda s: ops.Clip(ops.Add(s, DEEP_MASK), -9.0, None),
    "a mild choice, and a sum": lambda s: ops.Add(ops.Where(KEPT, s, num(-5.0)), s),
    "what may be no mask, times the server's": lambda s: ops.Mul(ops.Add(s, MASK), SCALE),
    "a difference of shared values": lambda s: ops.Sub(s, ops.Add(s, BIAS)),
}


@pytest.mark.parametrize("name", KEPT_AS_THEY_ARE)
def test_what_is_no_swallowed_mask_stays(name):
    assert hoist_mask(graph(ops.Softmax(KEPT_AS_THEY_ARE[name](scores())))).count == 0


def test_under_a_relu_what_may_be_no_mask_stays():
    assert hoist_mask(graph(ops.Relu(ops.Reshape(ops.Add(scores(), MASK), (16,))))).count == 0


def test_without_a_reader_it_stays():
    assert hoist_mask(graph(ops.Tanh(MASKED["chosen"](scores())))).count == 0
