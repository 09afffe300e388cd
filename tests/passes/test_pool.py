import numpy as np
import pytest
from numpy.testing import assert_allclose

from ppc.frontend.ir import ops
from ppc.frontend.ir.graph import FLOAT, INT, Graph, Input
from ppc.frontend.ir.reference import evaluate
from ppc.frontend.ir.text import show
from ppc.passes.pool import pool

X = Input((1, 5, 3), FLOAT, name="x")
MASK = Input((1, 5), INT, name="mask")
WEIGHT = ops.Const(np.random.default_rng(0).normal(size=(3, 3)), True)


def shared():
    return ops.MatMul(X, WEIGHT)


def mean(expanded, keepdims=False, axis=1):
    total = ops.ReduceSum(ops.Mul(shared(), expanded), axes=(axis,), keepdims=keepdims)
    count = ops.Clip(ops.ReduceSum(expanded, axes=(axis,), keepdims=keepdims), lo=1e-9)
    return Graph((X, MASK), {"y": ops.Div(total, count, name="mean")})


def column():
    return ops.Cast(ops.Reshape(MASK, (1, 5, 1)), FLOAT)


@pytest.mark.parametrize("keepdims", [False, True])
@pytest.mark.parametrize("expanded", [column(), ops.Broadcast(column(), (1, 5, 3))])
def test_masked_mean_is_one_product(keepdims, expanded):
    before = mean(expanded, keepdims)
    after = pool(before).graph
    text = show(after)
    assert text.count("MatMul") == 2
    assert " Mul(" not in text
    feeds = {"x": np.random.default_rng(1).normal(size=(1, 5, 3)), "mask": np.array([[1, 1, 1, 0, 0]])}
    assert_allclose(evaluate(before, feeds)["y"], evaluate(after, feeds)["y"], rtol=1e-12)
    assert after.outputs["y"].name == "mean"


def test_one_number_may_weigh_all_tokens():
    """A mask of one token, where the model broadcasts it."""
    weight = ops.Cast(ops.Reshape(ops.Slice(MASK, (0,), (1,), (1,), (1,)), (1, 1, 1)), FLOAT)
    before = Graph((X, MASK), {"y": ops.ReduceSum(ops.Mul(shared(), weight), axes=(1,))})
    after = pool(before)
    assert after.count == 1
    feeds = {"x": np.random.default_rng(1).normal(size=(1, 5, 3)), "mask": np.array([[2, 1, 1, 0, 0]])}
    assert_allclose(evaluate(before, feeds)["y"], evaluate(after.graph, feeds)["y"], rtol=1e-12)


def test_a_factor_that_differs_between_channels_stays():
    pixels = Input((1, 5, 3), FLOAT, name="pixels")
    total = ops.ReduceSum(ops.Mul(shared(), pixels), axes=(1,))
    done = pool(Graph((X, pixels), {"y": total}))
    assert done.count == 0
    assert "between channels" in str(done.refusals[0])


def test_a_sum_over_channels_stays():
    assert pool(Graph((X, MASK), {"y": ops.ReduceSum(ops.Mul(shared(), column()), axes=(2,))})).count == 0


def test_a_mask_that_is_shared_stays():
    gate = ops.Slice(shared(), (0,), (1,), (2,), (1,))
    assert pool(Graph((X,), {"y": ops.ReduceSum(ops.Mul(shared(), gate), axes=(1,))})).count == 0


def test_a_masked_value_with_another_user_stays():
    masked = ops.Mul(shared(), column())
    done = pool(Graph((X, MASK), {"y": ops.ReduceSum(masked, axes=(1,)), "masked": masked}))
    assert done.count == 0
    assert "another user" in str(done.refusals[0])
