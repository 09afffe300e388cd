import numpy as np
import pytest
from rewriting import becomes, graph, inp, num, refuses, row

from ppc.frontend.ir import ops
from ppc.passes.fold_constants import LARGEST_BROADCAST, fold_constants

X = inp(3)


def test_what_depends_on_no_input_is_a_constant() -> None:
    value = ops.Mul(ops.Add(num(1), num(2)), num(4))
    becomes(fold_constants, graph(ops.Add(X, value)), "%0 = Input(x)\n%1 = Const(12)\n%2 = Add(%0, %1)")


@pytest.mark.parametrize("a", [False, True])
@pytest.mark.parametrize("b", [False, True])
def test_it_is_secret_if_one_operand_is(a: bool, b: bool) -> None:
    value = ops.Mul(row(1, 2, 3, secret=a), row(1, 1, 1, secret=b))
    after = fold_constants(graph(ops.Add(X, value))).graph
    assert after.outputs["y"].operands[1].attributes["secret"] is (a or b)


def test_an_op_on_an_input_stays() -> None:
    refuses(fold_constants, graph(ops.Add(X, num(1))))


def test_weights_stay_narrow_and_numbers_exact() -> None:
    wide = fold_constants(graph(ops.Add(X, ops.Mul(row(1, 2, 3), num(1 / 3))))).graph.outputs["y"].operands[1]
    assert wide.attributes["value"].dtype == np.float64  # a factor in doubles keeps its digits
    narrow = fold_constants(graph(ops.Add(X, ops.Neg(row(1, 2, 3))))).graph.outputs["y"].operands[1]
    assert narrow.attributes["value"].dtype == np.float32


def test_a_constant_is_not_blown_up() -> None:
    size = LARGEST_BROADCAST + 1
    blown = ops.Broadcast(row(1), (size,))
    refuses(fold_constants, graph(ops.Add(inp(size), blown)), f"from 1 to {size} elements")
    fitting = graph(ops.Add(X, ops.Broadcast(row(1), (3,))))
    becomes(fold_constants, fitting, "%0 = Input(x)\n%1 = Const(secret)\n%2 = Add(%0, %1)")


def test_names_stay() -> None:
    after = fold_constants(graph(ops.Add(X, ops.Neg(num(1), name="minus one")))).graph
    assert after.outputs["y"].operands[1].name == "minus one"
