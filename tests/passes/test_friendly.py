import math

import numpy as np
import pytest
from friendly_cases import RNG, X, distance, exact, made, row, value
from numpy.testing import assert_allclose
from rewriting import graph, inp

from ppc.frontend.ir import ops
from ppc.frontend.ir.graph import walk
from ppc.frontend.ir.reference import evaluate_in
from ppc.passes.friendly import REPLACEABLE, SUBSTITUTIONS, variants
from ppc.passes.substitution import Samples
from ppc.runtime.base.namespace import of_torch

EACH = pytest.mark.parametrize("each", SUBSTITUTIONS, ids=lambda each: f"{each.op.__name__}-{each.name}")


@EACH
def test_declared_difference_holds_and_is_no_larger_than_need_be(each):
    wide = RNG.normal(0, 3, (256, 4))
    off = np.abs(value(made(each, wide), wide) - exact(row(each.op, inp(*wide.shape)), wide)).max()
    assert 1e-3 < off <= each.max_error
    assert each.difference.startswith("changes the function")
    assert ("at most" in each.difference) == math.isfinite(each.max_error)


@EACH
def test_fitting_brings_it_closer(each):
    if "calibrate" in each.settings:
        assert distance(each, X) < distance(each, X, {"calibrate": False})


@EACH
def test_what_was_fitted_at_one_length_serves_another(each):
    g = made(each, X, shape=(64, 4))
    op = row(each.op, inp(7, 4))
    wanted = exact(row(each.op, inp(*X.shape)), X)
    constants = each.fit(row(each.op, inp(*X.shape)), Samples([X], [wanted]), each.settings)
    shorter = graph(each.build(op, constants, each.settings))
    assert_allclose(value(shorter, X[:7]), value(g, X)[:7], rtol=1e-6)


@EACH
@pytest.mark.long
def test_torch_has_the_same_values_and_finite_gradients(each):
    torch = pytest.importorskip("torch")
    g = made(each, X)
    given = {
        op: torch.tensor(op.value, dtype=torch.float64, requires_grad=op.secret)
        for op in walk(g)
        if isinstance(op, ops.Const)
    }
    x = torch.tensor(X, requires_grad=True)
    y = evaluate_in(of_torch(torch, torch.float64), g, {"x": x}, given)[g.outputs["y"]]
    assert_allclose(y.detach().numpy(), value(g, X), rtol=1e-12)
    y.square().sum().backward()
    trained = [x, *(t for t in given.values() if t.requires_grad)]
    assert all(torch.isfinite(t.grad).all() and t.grad.abs().sum() > 0 for t in trained)


def test_the_table_is_complete():
    assert set(REPLACEABLE) == {ops.Gelu, ops.Silu, ops.Softmax, ops.LayerNorm, ops.RMSNorm}
    assert [next(iter(variants(op))) for op in REPLACEABLE] == [
        "relu", "relu", "relu_sum", "centred_affine", "affine",
    ]  # fmt: skip
    keys = [(each.op, each.name) for each in SUBSTITUTIONS]
    assert len(set(keys)) == len(keys)
    assert all(each.formula and each.replaces and each.domain and each.cost for each in SUBSTITUTIONS)
