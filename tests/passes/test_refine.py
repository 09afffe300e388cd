"""Splines fitted again to less error."""

import pytest
from rewriting import graph, inp

from ppc.frontend.ir import ops
from ppc.passes import functions
from ppc.passes.refine import REFITS, finer, refine

SPECS = {
    "gelu": lambda: functions.gelu(),
    "gelu_tanh": lambda: functions.gelu(approx="tanh"),
    "silu": lambda: functions.silu(),
    "exp": lambda: functions.exp(),
    "sigmoid": lambda: functions.sigmoid(),
    "tanh": lambda: functions.tanh(),
    "erf": lambda: functions.erf(),
    "reciprocal": lambda: functions.reciprocal(1.0, 8.0),
    "rsqrt": lambda: functions.rsqrt(0.1, 2.0),
    "sqrt": lambda: functions.sqrt(0.1, 2.0),
}


@pytest.mark.long
@pytest.mark.parametrize("name", sorted(REFITS))
def test_the_same_function_with_less_error(name):
    spec = SPECS[name]()
    assert spec.function == name
    fine = finer(spec, 2)
    assert fine.function == name
    assert (fine.error or fine.max_error) <= REFITS[name][0] / 4
    assert len(fine.knots) > len(spec.knots)
    if name in ("reciprocal", "rsqrt", "sqrt"):
        assert fine.domain == spec.domain


@pytest.mark.parametrize("name", sorted(REFITS))
def test_the_same_function_with_more_error(name):
    spec = SPECS[name]()
    coarse = finer(spec, -2)
    if name in ("reciprocal", "rsqrt", "sqrt"):  # of one number a row, to which all the row is held
        assert coarse == spec
    else:
        assert coarse.function == name
        assert len(coarse.knots) < len(spec.knots)
        assert spec.error < coarse.error <= REFITS[name][0] * 4


def test_every_fitted_function_can_be_refitted():
    assert {row.spec.function for row in functions.table()} - set(REFITS) == {"relu"}


def test_what_is_exact_stays():
    relu = graph(ops.Spline(inp(3), functions.relu()))
    assert refine(relu, 3) is relu


def test_no_halving_changes_nothing():
    gelu = graph(ops.Spline(inp(3), functions.gelu()))
    assert refine(gelu, 0) is gelu
    assert refine(gelu, 1).outputs["y"].spline == functions.gelu(functions.GELU_ERROR / 2)


@pytest.mark.long
def test_as_fine_as_the_grid_allows():
    assert finer(functions.gelu(), 40).error < functions.GELU_ERROR / 16
