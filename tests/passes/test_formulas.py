"""Formulas that say where a value lies, and what looks like them."""

import numpy as np
import pytest

from ppc.frontend.ir import ops
from ppc.frontend.ir.graph import FLOAT, INT, Input
from ppc.passes import functions
from ppc.passes.formulas import averaged, magnitude_of, root_of, under_root

M = Input((1, 8), INT, name="mask")
C = ops.Cast(M, FLOAT)
ROW = ops.Reshape(C, (1, 1, 8))
SUM = ops.ReduceSum(C, axes=(1,), keepdims=True)
X = Input((1, 4), FLOAT, name="x")


def reshaped(total):
    return ops.Reshape(total, (1, 1, 1))


@pytest.mark.parametrize(
    "weights",
    [
        ops.Div(ROW, reshaped(SUM)),
        ops.Div(ROW, reshaped(ops.Clip(SUM, 1e-9, None))),
        ops.Div(ROW, ops.ReduceSum(ROW, axes=(2,), keepdims=True)),
        ops.Div(
            ROW, reshaped(ops.ReduceSum(ops.Broadcast(ops.Reshape(C, (1, 8, 1)), (1, 8, 3)), axes=(1, 2)))
        ),
    ],
)
def test_weights_over_their_own_sum(weights):
    assert averaged(weights) is M


@pytest.mark.parametrize(
    "other",
    [
        ROW,
        ops.Div(ROW, reshaped(ops.ReduceSum(Input((1, 8), FLOAT, name="z"), axes=(1,)))),
        ops.Div(ROW, reshaped(ops.Clip(SUM, None, 4.0))),
        ops.Div(ROW, ops.ReduceSum(ops.Reshape(C, (1, 2, 4)), axes=(2,), keepdims=True)),
    ],
)
def test_sums_of_something_else_or_of_less(other):
    """A mask alone adds up to 1 on samples of one token, and to more on others."""
    assert averaged(other) is None


def test_roots_with_a_floor():
    root = ops.Sqrt(X)
    assert root_of(root) is X
    assert root_of(ops.Clip(root, 1e-6, None)) is X
    assert root_of(ops.Clip(root, None, 1.0)) is None
    assert under_root(ops.Reciprocal(ops.Clip(root, 1e-6, None))) is X
    assert under_root(ops.Reciprocal(X)) is None


def test_magnitudes():
    relu, two = ops.Relu(X), ops.Const(np.array(2.0))
    assert magnitude_of(ops.Sub(ops.Mul(relu, two), X)) is X
    assert magnitude_of(ops.Sub(ops.Mul(ops.Spline(X, functions.relu()), two), X)) is X
    assert magnitude_of(ops.Sub(ops.Mul(relu, two), Input((1, 4), FLOAT, name="z"))) is None
    assert magnitude_of(ops.Sub(ops.Mul(relu, ops.Const(np.array(3.0))), X)) is None
