"""The client's own part: every record computes what its op means, and nothing large or unknown gets in."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from ppc.backend.lower_local import MAX_PUBLIC, RECORDS, NotLocal, cuts, local_op
from ppc.frontend.ir import ops, reference
from ppc.frontend.ir.graph import BOOL, FLOAT, INT, Graph, Input, Op, walk
from ppc.passes import functions
from ppc.runtime.base.function import LogSumExp
from ppc.runtime.base.meaning import MEANING
from ppc.runtime.plan.local import infer_local, run_local

X = Input((2, 3), FLOAT, name="x")
IDS = Input((2, 3), INT, name="ids")
FEEDS = {"x": np.array([[0.5, 1.5, 2.0], [3.0, 0.25, 1.0]]), "ids": np.array([[1, 0, 2], [2, 2, 0]])}


def number(value: float) -> ops.Const:
    return ops.Const(np.float32(value))


ROW = ops.Const(np.array([0.5, -1.0, 2.0]))
CASES: dict[str, Op] = {
    "arithmetic": ops.Div(ops.Sub(ops.Mul(X, X), number(3.0)), ops.Add(X, number(1.0))),
    "powers": ops.Pow(X, number(3.0)),
    "roots": ops.Sqrt(ops.Abs(ops.Neg(X))),
    "exponentials": ops.Exp(ops.Square(X)),
    "bounds": ops.Clip(ops.Max(X, ops.Min(IDS, number(1.0))), 0.6, None),
    "comparison": ops.Cast(ops.And(ops.Greater(X, number(0.4)), ops.Not(ops.Less(X, number(1.2)))), FLOAT),
    "selection": ops.Where(ops.Equal(IDS, ops.Const(np.int64(2))), X, number(-9.0)),
    "truth": ops.Cast(ops.Cast(IDS, BOOL), FLOAT),
    "whole numbers": ops.Cast(ops.Cast(ops.Floor(X), INT), FLOAT),
    "one-hot rows": ops.OneHot(IDS, 3),
    "look-up": ops.Gather(ops.Const(np.arange(12.0).reshape(3, 4)), IDS, 0),
    "running sums": ops.CumSum(X, 1),
    "reductions": ops.Add(ops.ReduceSum(X, (1,), True), ops.ReduceMean(X, (0, 1), True)),
    "maximum": ops.ReduceMax(X, (0,), False),
    "structure": ops.Transpose(ops.Reshape(ops.Broadcast(X, (4, 2, 3)), (8, 3)), (1, 0)),
    "cuts": ops.Concat((ops.Slice(X, (0,), (3,), (1,), (2,)), ops.Slice(X, (1,), (2,), (-1,), (1,))), -1),
    "product": ops.MatMul(X, ops.Transpose(X, (1, 0))),
    "remainder": ops.Mod(IDS, ops.Const(np.int64(2))),
    "remainder of a's sign": ops.Mod(ops.Neg(X), number(0.7), fmod=True),
    "whole quotients": ops.Div(ops.Neg(IDS), ops.Const(np.int64(2))),
    "backwards": ops.Slice(X, (-1, 2), (-9, 0), (0, 1), (-1, -2)),
    "functions": ops.Add(ops.Gelu(X, "tanh"), ops.Add(ops.Silu(X), ops.Erf(X))),
    "rows": ops.RMSNorm(ops.LayerNorm(ops.Softmax(X), ROW, ROW, 1e-3), ROW, 1e-3),
    "bounds of either side": ops.Add(ops.Clip(X, None, 1.2), ops.Clip(X, 0.7, 1.2)),
    "what no protocol computes": ops.Clear(LogSumExp((1,), False), (X,), (2,)),
    "many numbers": ops.Add(ops.ReduceSum(ops.Const(np.arange(100.0) / 3), (0,), False), X),
    "many truths": ops.Where(
        ops.Const(np.arange(99).reshape(11, 3, 3) % 2 == 0), number(2.0), ops.ReduceMax(X, (0,))
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_records_compute_what_the_op_means(name):
    graph = Graph((X, IDS), {"y": CASES[name]})
    at: dict[Op, int] = {}
    records = []
    for op in walk(graph):
        records.append(local_op(op, tuple(at[each] for each in op.operands)))
        at[op] = len(records) - 1
    infer_local(records, {"x": (2, 3), "ids": (2, 3)})
    got = run_local(records, FEEDS)[at[CASES[name]]]
    want = np.asarray(reference.evaluate(graph, FEEDS)["y"], np.float64)
    assert got.shape == want.shape
    assert np.allclose(got, want, rtol=1e-6)


def test_every_record_has_a_function():
    """And a record of a function's attributes names fields of the IR's op of that name."""
    for name, record in RECORDS.items():
        assert name == "Plain" or name in MEANING
        if name in ops.__all__:
            fields = {each.name for each in dataclasses.fields(getattr(ops, name))}
            assert fields >= set(record.__struct_fields__)


def test_a_large_public_table_is_refused():
    with pytest.raises(NotLocal, match="Const"):
        local_op(ops.Const(np.zeros(MAX_PUBLIC + 1)), ())


def test_an_op_without_a_function_is_named():
    with pytest.raises(NotLocal, match="Spline bump"):
        local_op(ops.Spline(X, functions.relu(), name="bump"), (0,))


def test_cuts_name_every_axis():
    assert cuts(ops.Slice(X, (1,), (9,), (1,), (1,))) == ((0, 2, 1), (1, 3, 1))
