import numpy as np
import pytest
from numpy.testing import assert_allclose

from ppc.frontend.ir import ops
from ppc.frontend.ir.graph import FLOAT, Graph, Input
from ppc.frontend.ir.reference import evaluate
from ppc.frontend.ir.text import show
from ppc.passes.delay_division import delay_division

E = Input((2, 3, 4), FLOAT, name="e")
R = Input((2, 3, 1), FLOAT, name="r")
V = Input((2, 4, 5), FLOAT, name="v")
NARROW = Input((2, 4, 2), FLOAT, name="v")


def graph(y, *more):
    return Graph((E, R, V), {"y": y, **{f"z{i}": each for i, each in enumerate(more)}})


def test_division_moves_behind_the_product():
    before = graph(ops.MatMul(ops.Mul(E, R), V, name="out"))
    done = delay_division(before)
    assert done.count == 1
    assert show(done.graph) == (
        "%0 = Input(e) : f32[2,3,4]\n"
        "%1 = Input(r) : f32[2,3,1]\n"
        "%2 = Input(v) : f32[2,4,5]\n"
        "%3 = MatMul(%0, %2) : f32[2,3,5]\n"
        "%4 = Mul(%3, %1) : f32[2,3,5]  # out\n"
        "return y=%4\n"
    )
    rng = np.random.default_rng(0)
    feeds = {each.name: rng.normal(size=each.type.shape) for each in before.inputs}
    assert_allclose(evaluate(before, feeds)["y"], evaluate(done.graph, feeds)["y"], rtol=1e-12)


@pytest.mark.parametrize(("columns", "moved"), [(4, 1), (5, 0)])
def test_a_weight_that_widens_stays_behind_the_division(columns, moved):
    weight = ops.Const(np.zeros((4, columns), np.float32), secret=True)
    assert delay_division(graph(ops.MatMul(ops.Mul(E, R), weight))).count == moved


def test_the_factor_may_stand_first():
    assert delay_division(graph(ops.MatMul(ops.Mul(R, E), V))).count == 1


def columns_times(v, read_again=False):
    columns = Input((2, 1, 4), FLOAT, name="r")
    scaled = ops.Mul(E, columns)
    return Graph((E, columns, v), {"y": ops.MatMul(scaled, v), **({"z": scaled} if read_again else {})})


def test_a_factor_for_columns_moves_to_a_smaller_right_operand():
    before = columns_times(NARROW)
    done = delay_division(before)
    assert show(done.graph) == (
        "%0 = Input(e) : f32[2,3,4]\n"
        "%1 = Input(r) : f32[2,1,4]\n"
        "%2 = Input(v) : f32[2,4,2]\n"
        "%3 = Transpose(%1, perm=(0,2,1)) : f32[2,4,1]\n"
        "%4 = Mul(%2, %3) : f32[2,4,2]\n"
        "%5 = MatMul(%0, %4) : f32[2,3,2]\n"
        "return y=%5\n"
    )
    rng = np.random.default_rng(0)
    feeds = {each.name: rng.normal(size=each.type.shape) for each in before.inputs}
    assert_allclose(evaluate(before, feeds)["y"], evaluate(done.graph, feeds)["y"], rtol=1e-12)


def test_a_factor_for_columns_stays_where_the_right_operand_is_larger():
    assert delay_division(columns_times(V)).count == 0


def test_a_value_scaled_by_columns_with_another_user_stays():
    done = delay_division(columns_times(NARROW, read_again=True))
    assert done.count == 0
    assert "another user" in str(done.refusals[0])


def test_a_factor_on_the_right_operand_stays():
    rows = Input((2, 4, 1), FLOAT, name="r")
    assert delay_division(Graph((E, rows, V), {"y": ops.MatMul(E, ops.Mul(V, rows))})).count == 0


def test_a_scaled_value_with_another_user_stays():
    scaled = ops.Mul(E, R)
    done = delay_division(graph(ops.MatMul(scaled, V), scaled))
    assert done.count == 0
    assert "another user" in str(done.refusals[0])
