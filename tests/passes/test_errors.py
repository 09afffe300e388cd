"""A value that is refused is told by a name of the model."""

import numpy as np

from ppc.frontend.ir import ops
from ppc.frontend.ir.graph import FLOAT, Input
from ppc.passes import functions
from ppc.passes.errors import place

X = Input((2, 4), FLOAT, name="x")
SCORES = ops.MatMul(X, ops.Const(np.eye(4, dtype=np.float32), True, name="weight"), name="scores")
LESS = ops.Sub(SCORES, ops.ReduceMax(SCORES, axes=(1,), keepdims=True))


def test_its_own():
    assert place(SCORES) == "MatMul scores : f32[2,4]"


def test_the_nearest_that_it_is_made_of():
    assert place(ops.Exp(LESS)) == "Exp of scores : f32[2,4]"
    assert place(ops.ReduceSum(ops.Exp(LESS), axes=(1,), keepdims=True)) == "ReduceSum of scores : f32[2,1]"


def test_a_weight_names_no_value():
    gamma = ops.Const(np.ones(4, np.float32), True, name="gamma")
    assert place(ops.Mul(LESS, gamma)) == "Mul of scores : f32[2,4]"


def test_a_spline_by_its_function():
    assert place(ops.Spline(LESS, functions.exp())) == "exp of scores : f32[2,4]"


def test_nothing_named():
    assert place(ops.Const(np.zeros(3, np.float32))) == "Const (unnamed) : f32[3]"
