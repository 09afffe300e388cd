"""Bounds for any input: never less than what an input makes, whatever it is."""

import numpy as np
import pytest
import tiny_bert

from ppc.frontend.ir import ops
from ppc.frontend.ir.graph import FLOAT, Graph, Input, walk
from ppc.frontend.ir.reference import evaluate_in
from ppc.passes.calibrate import calibrate
from ppc.passes.substitute import decompose
from ppc.runtime.base.namespace import NUMPY

R = np.random.default_rng(5)
X = Input((3, 8), FLOAT, name="x")
W = ops.Const(R.normal(size=(8, 8)))


def normed(x):
    total = ops.ReduceSum(ops.Square(x), axes=(1,), keepdims=True)
    return ops.Mul(x, ops.Reciprocal(ops.Sqrt(ops.Add(total, ops.Const(np.array(1e-6))))))


N = normed(X)
CASES = {
    "a norm": N,
    "times a weight": ops.MatMul(N, W),
    "plus a bias": ops.Add(ops.MatMul(N, W), ops.Const(R.normal(size=(8,)))),
    "a factor by channel": ops.Mul(N, ops.Const(R.normal(size=(8,)))),
    "turned": ops.Transpose(N, (1, 0)),
    "one of a row, repeated": ops.Add(N, ops.Broadcast(ops.Slice(N, (0,), (1,), (1,), (1,)), (3, 8))),
    "a GELU of it": ops.MatMul(ops.Gelu(ops.MatMul(N, W), "none"), W),
    "heads": ops.MatMul(ops.Reshape(N, (3, 2, 4)), ops.Const(R.normal(size=(4, 4)))),
}


def values(graph: Graph, feeds: dict) -> dict:
    """Every value in double precision."""
    return evaluate_in(NUMPY, graph, feeds, {c: c.value for c in walk(graph) if isinstance(c, ops.Const)})


def worst(x: Input, of, op) -> float:
    """What an input that is looked for makes of a value: random directions, and single channels."""
    graph = Graph((x,), {"y": of})
    samples = [R.normal(size=x.type.shape) * 10.0 ** R.uniform(-2, 3) for _ in range(100)]
    samples += [np.eye(8)[[i, j, k]] * s for i, j, k in R.integers(0, 8, (100, 3)) for s in (1.0, -1.0)]
    return max(float(np.abs(values(graph, {"x": each})[op]).max()) for each in samples)


@pytest.mark.parametrize("name", CASES)
def test_no_input_goes_further(name):
    graph = Graph((X,), {"y": CASES[name]})
    ranges = calibrate(graph, [{"x": R.normal(size=(3, 8))}])
    for op in walk(graph):
        if np.isfinite(ranges[op].most):
            assert worst(X, CASES[name], op) <= ranges[op].most * (1 + 1e-9), op
    assert np.isfinite(ranges[CASES[name]].most)
    assert worst(X, CASES[name], CASES[name]) > ranges[CASES[name]].most / 30, "a bound that says something"


def test_what_has_no_norm_before_it_has_no_bound():
    for op in (ops.MatMul(X, W), ops.Mul(N, X), ops.Square(X)):
        graph = Graph((X,), {"y": op})
        assert calibrate(graph, [{"x": R.normal(size=(3, 8))}])[op].most == np.inf


def test_a_whole_model_keeps_within_its_bounds():
    graph = decompose(tiny_bert.tiny_bert())
    ranges = calibrate(graph, [tiny_bert.feeds(6, 6)])
    bounded = [op for op in walk(graph) if np.isfinite(ranges[op].most) and not isinstance(op, ops.Const)]
    assert len(bounded) > 20
    for seed in range(8):
        found = values(graph, tiny_bert.feeds(6 - seed % 3, seed))
        for op in bounded:
            assert np.abs(found[op]).max() <= ranges[op].most * (1 + 1e-6), op
