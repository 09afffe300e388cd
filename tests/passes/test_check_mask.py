"""A mask may be added, scaled and moved; what neither party knows may not be multiplied by it."""

from __future__ import annotations

import numpy as np
import pytest
from rewriting import graph, inp, num

from ppc.frontend.ir import ops
from ppc.frontend.ir.graph import Op
from ppc.passes.calibrate import calibrate
from ppc.passes.check_mask import check_mask
from ppc.passes.errors import RangeError

R = np.random.default_rng(0)
X, M = inp(4, 3), inp(1, 4, name="mask")
MASK = ops.Mul(M, num(-1e4))


def scores() -> Op:
    return ops.MatMul(X, ops.Const(R.normal(size=(3, 4)).astype(np.float32), True))


def checked(y: Op) -> None:
    g = graph(y)
    given = {"x": R.normal(size=(4, 3)), "mask": np.array([[0.0, 0, 1, 1]])}
    feeds = [{each.name: given[each.name] for each in g.inputs}]
    assert check_mask(g, calibrate(g, feeds)) is g


MASKED = ops.Add(scores(), MASK)

REFUSED = {
    "gated": ops.Softmax(ops.Mul(MASKED, ops.Sigmoid(scores()))),
    "gated, moved and negated": ops.Mul(ops.Sigmoid(scores()), ops.Neg(ops.Transpose(MASKED, (1, 0)))),
    "a matrix": ops.MatMul(MASKED, scores()),
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_product_with_a_mask_is_refused(name: str) -> None:
    with pytest.raises(RangeError, match=r"M[a-z]+ .* neither party knows"):
        checked(REFUSED[name].named("y"))


@pytest.mark.parametrize(
    "y",
    [
        ops.Mul(scores(), ops.Sigmoid(scores())),
        ops.MatMul(ops.Softmax(MASKED), scores()),
        ops.MatMul(MASKED, ops.Const(np.eye(4, dtype=np.float32), True)),
        ops.Mul(MASKED, ops.Const(np.array(0.37), True)),
        ops.Mul(ops.Relu(MASKED), scores()),
        ops.Mul(ops.Add(scores(), ops.Mul(M, num(-9.0))), scores()),
    ],
)
def test_other_products_pass(y: Op) -> None:
    checked(y)
