"""Selections and extremes of shared values: printed, and unchanged in value."""

import numpy as np
import pytest
from rewriting import becomes, graph, inp, num, refuses, same_value, text

from ppc.frontend.ir import ops
from ppc.frontend.ir.graph import BOOL, INT, Owner, walk
from ppc.passes.legalise import legalise
from ppc.passes.owners import owners

R = np.random.default_rng(3)


def shared(*shape: int, name: str = "x") -> ops.Op:
    """A value of neither side: the client's plus a weight."""
    return ops.Add(inp(*shape, name=name), ops.Const(np.float32(0.25), True))


def ids(*shape: int) -> ops.Input:
    return ops.Input(shape, INT, name="ids")


def kept(*shape: int) -> ops.Op:
    return ops.Equal(ids(*shape), ops.Const(np.array(1)))


def test_a_choice_between_two_shared_values():
    y = shared(2, name="y")
    becomes(
        legalise,
        graph(ops.Where(kept(2), shared(2), y)),
        """
%0 = Input(ids)
%1 = Input(x)
%2 = Input(y)
%3 = Const(secret)
%4 = Add(%2, %3)
%5 = Const(secret)
%6 = Add(%1, %5)
%7 = Sub(%6, %4)
%8 = Const(1)
%9 = Equal(%0, %8)
%10 = Cast(%9, to=f32)
%11 = Mul(%7, %10)
%12 = Add(%4, %11)
""",
    )


def test_a_value_or_a_constant():
    done = becomes(
        legalise,
        graph(ops.Where(ops.Const(np.array([True, False])), shared(2), num(7))),
        """
%0 = Input(x)
%1 = Const(secret)
%2 = Add(%0, %1)
%3 = Const([1, 0])
%4 = Mul(%2, %3)
%5 = Const([0, 7])
%6 = Add(%4, %5)
""",
    )
    assert owners(done)[done.outputs["y"]] is Owner.SHARED


def test_a_value_or_zero_is_one_product():
    done = legalise(graph(ops.Where(kept(2), num(0), shared(2)))).graph
    assert [type(op).__name__ for op in walk(done)].count("Mul") == 1
    same_value(graph(ops.Where(kept(2), num(0), shared(2))), done)


def test_a_choice_of_the_clients_stays_with_it():
    assert legalise(graph(ops.Where(kept(2), inp(2), num(0)))).count == 0


def test_what_cannot_be_chosen_is_refused():
    refuses(legalise, graph(ops.Where(kept(2), shared(2), num(-np.inf))), "infinite")
    x = shared(2)
    refuses(legalise, graph(ops.Where(ops.Greater(x, num(0)), x, num(1))), "known to neither side")


@pytest.mark.parametrize(
    ("op", "expected"),
    [
        (ops.Max, "%6 = Sub(%5, %3)\n%7 = Relu(%6)\n%8 = Add(%3, %7)"),
        (ops.Min, "%6 = Sub(%3, %5)\n%7 = Relu(%6)\n%8 = Sub(%3, %7)"),
    ],
)
def test_the_larger_and_the_smaller(op, expected):
    before = graph(op(shared(3), shared(3, name="y")))
    after = legalise(before).graph
    assert expected in text(after)
    same_value(before, after)
    assert legalise(graph(op(inp(3), num(1)))).count == 0


@pytest.mark.parametrize(("axes", "keep"), [((0,), True), ((1,), False), ((0, 2), True), ((0, 1, 2), False)])
def test_a_maximum_over_other_axes(axes, keep):
    before = graph(ops.ReduceMax(shared(2, 3, 4), axes, keep))
    after = legalise(before).graph
    (found,) = [op for op in walk(after) if isinstance(op, ops.ReduceMax)]
    assert found.axes == (found.x.type.rank - 1,)
    same_value(before, after)
    assert legalise(graph(ops.ReduceMax(shared(2, 3), (1,), keep))).count == 0


@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize("shape", [(), (2,), (2, 2)])
def test_a_place_that_the_client_knows(axis, shape):
    before = graph(ops.Gather(shared(2, 3, 4), ids(*shape), axis))
    after = legalise(before).graph
    assert sum(isinstance(op, ops.OneHot) for op in walk(after)) == 1
    same_value(before, after)


def test_tables_of_other_shapes_and_embeddings():
    table = ops.Const(R.normal(size=(2, 5)).astype(np.float32), True)
    assert legalise(graph(ops.Gather(table, ids(3), 0))).count == 0
    for value, axis in ((table.value[0], 0), (table.value, 1), (R.normal(size=(2, 2, 3)), 0)):
        before = graph(ops.Gather(ops.Const(value, True), ids(3), axis))
        after = legalise(before).graph
        assert sum(isinstance(op, ops.MatMul) for op in walk(after)) == 1
        same_value(before, after)
    public = ops.Const(table.value, False)
    assert legalise(graph(ops.Gather(public, ids(3), 1))).count == 0


def test_known_places_stay():
    assert legalise(graph(ops.Gather(shared(6, 2), ops.Const(np.array([0, 1, 2, 5, -2])), 0))).count == 0


def test_backwards():
    before = graph(ops.Slice(shared(5, 3), (4, -1), (-9, 0), (0, 1), (-2, -1)))
    after = legalise(before).graph
    assert all(step > 0 for op in walk(after) if isinstance(op, ops.Slice) for step in op.steps)
    same_value(before, after)


@pytest.mark.parametrize("exclusive", [False, True])
@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("axis", [0, 1, 2])
def test_running_sums(axis, exclusive, reverse):
    before = graph(ops.CumSum(shared(2, 3, 4), axis, exclusive, reverse))
    after = legalise(before).graph
    assert not any(isinstance(op, ops.CumSum) for op in walk(after))
    same_value(before, after)
    assert legalise(graph(ops.CumSum(inp(2, 3), 1))).count == 0


def test_bool_inputs_choose_too():
    before = graph(ops.Where(ops.Input((2,), BOOL, name="flag"), shared(2), num(2)))
    same_value(before, legalise(before).graph)


def test_a_look_up_at_secret_places():
    """A product with one-hot rows, which are the server's."""
    places = ops.Const(np.array([[2, 0, 1, 1]]), True)
    op = ops.Gather(shared(2, 3), places, 1)
    after = legalise(graph(op)).graph
    same_value(graph(op), after)
    assert not [each for each in walk(after) if isinstance(each, ops.Gather)]
    (product,) = [each for each in walk(after) if isinstance(each, ops.MatMul)]
    assert isinstance(product.a, ops.Const)
    assert product.a.secret
