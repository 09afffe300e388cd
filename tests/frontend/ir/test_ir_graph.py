import numpy as np
import pytest

from ppc.frontend.ir import ops
from ppc.frontend.ir.graph import FLOAT, INT, Graph, Input, IRError, Op, rebuild, uses, walk
from ppc.frontend.ir.text import show
from ppc.runtime.base.ring import Fixed

X = Input((2, 3), FLOAT, name="x")
W = ops.Const(np.full((3, 4), 7.25, np.float32), True, name="w")
NARROW, WIDE = Fixed(16, 4), Fixed(32, 4)


def fixed(num: Fixed, *shape: int) -> Input:
    return Input(shape, num, name="q")


def test_walk_puts_operands_first_and_inputs_at_the_start() -> None:
    y = ops.Add(W, ops.MatMul(X, W)) if W.type.shape == (2, 4) else ops.Relu(ops.MatMul(X, W))
    unused = Input((), INT, name="unused")
    order = walk(Graph((unused, X), {"y": y}))
    assert order[:2] == [unused, X]
    assert all(order.index(each) < order.index(op) for op in order for each in op.operands)
    assert len(set(order)) == len(order)


def test_uses_count_outputs() -> None:
    square = ops.Mul(X, X)
    counts = uses(Graph((X,), {"a": square, "b": square}))
    assert (counts[X], counts[square]) == (2, 2)


def test_rebuild_keeps_what_does_not_change() -> None:
    left, right = ops.Tanh(X), ops.Exp(X)
    graph = Graph((X,), {"y": ops.Add(left, right)})
    after = rebuild(graph, lambda op: ops.Sigmoid(op.x) if isinstance(op, ops.Exp) else op)
    assert after.outputs["y"].operands[0] is left
    assert isinstance(after.outputs["y"].operands[1], ops.Sigmoid)
    assert rebuild(graph, lambda op: op) is graph


def test_rebuild_may_replace_an_input_but_only_by_another() -> None:
    graph = Graph((X,), {"y": ops.Neg(X)})
    other = Input((2, 3), FLOAT, True, name="x")
    after = rebuild(graph, lambda op: other if op is X else op)
    assert after.inputs == (other,)
    with pytest.raises(IRError, match="input x was replaced"):
        rebuild(graph, lambda op: W if op is X else op)


def test_a_graph_declares_its_inputs_once() -> None:
    with pytest.raises(IRError, match=r"x .* is no input"):
        Graph((), {"y": X})
    with pytest.raises(IRError, match="two inputs of one name"):
        Graph((X, Input((1,), FLOAT, name="x")), {"y": X})


def test_replace() -> None:
    op = ops.Concat((X, X), 0, name="c")
    other = ops.Neg(X)
    after = op.replace((X, other))
    assert after.xs == (X, other)
    assert (after.axis, after.name) == (0, "c")
    assert op.replace((X, X)) is op
    with pytest.raises(IRError, match="2 operands, not 1"):
        op.replace((X,))


def test_nothing_prints_a_weight() -> None:
    op = ops.MatMul(X, W)
    graph = Graph((X,), {"y": op})
    for text in (repr(W), str(W), repr(op), repr(graph), show(graph)):
        assert "7.25" not in text
    public = ops.Const(np.float32(7.25))
    assert "7.25" in show(Graph((X,), {"y": ops.Add(X, public)}))
    assert "7.25" not in show(Graph((X,), {"y": ops.Add(X, ops.Const(np.float32(7.25), True))}))


def test_a_shared_operand_is_printed_once() -> None:
    op: Op = X
    for _ in range(200):
        op = ops.Add(op, op)
    assert len(repr(op)) < 100
    assert len(show(Graph((X,), {"y": op})).splitlines()) == 202


def test_constants_are_read_only_and_leave_the_array_alone() -> None:
    value = np.ones(3)
    constant = ops.Const(value)
    with pytest.raises(ValueError, match="read-only"):
        constant.value[0] = 2
    value[0] = 1


def test_kinds_of_constants() -> None:
    kinds = {"f": np.float16(1), "i": np.uint8(1), "b": np.bool_(1)}
    found = {key: str(ops.Const(np.asarray(value)).type) for key, value in kinds.items()}
    assert found == {"f": "f32[]", "i": "i64[]", "b": "bool[]"}
    with pytest.raises(IRError, match="complex"):
        ops.Const(np.array([1j]))


def test_fixed_point_types() -> None:
    q = fixed(NARROW, 2, 2)
    assert ops.Add(q, q).type.num == NARROW
    assert ops.Mul(q, q).type.num == ops.Square(q).type.num == ops.MatMul(q, q).type.num == Fixed(16, 8)
    assert ops.Rescale(q, WIDE).type.num == ops.Exp(q, num=WIDE).type.num == WIDE
    assert ops.Exp(q).type.num == NARROW
    assert ops.Const(np.ones(2), num=NARROW).type.num == NARROW
    assert ops.ReduceSum(q, (0,)).type.num == NARROW
    with pytest.raises(IRError, match="formats differ, i16f4 and i32f4"):
        ops.Add(q, fixed(WIDE, 2, 2))
    with pytest.raises(IRError, match="one ring, not i16f4 and i32f4"):
        ops.MatMul(q, fixed(WIDE, 2, 2))
    with pytest.raises(IRError, match="formats differ"):
        ops.Add(q, ops.Const(np.ones(2)))
    with pytest.raises(IRError, match="not fixed-point"):
        ops.Rescale(X, WIDE)


IDS = Input((2,), INT, name="ids")


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (lambda: ops.Add(X, W), "do not broadcast"),
        (lambda: ops.MatMul(X, X), "inner axes differ"),
        (lambda: ops.MatMul(X, IDS), "without two axes"),
        (lambda: ops.Reshape(X, (5,)), "to \\(5,\\)"),
        (lambda: ops.Reshape(X, (-2, -3)), "to \\(-2, -3\\)"),
        (lambda: ops.Transpose(X, (0, 0)), "does not permute"),
        (lambda: ops.Broadcast(X, (3,)), "larger|broadcast"),
        (lambda: ops.Broadcast(X, (1, 3)), "larger"),
        (lambda: ops.Slice(X, (0,), (1,), (0, 1), (1,)), "differ in length"),
        (lambda: ops.Slice(X, (0,), (1,), (0,), (0,)), "step of 0"),
        (lambda: ops.Slice(X, (0,), (1,), (2,), (1,)), "axis 2 of a tensor of rank 2"),
        (lambda: ops.Concat((X, W), 0), "after"),
        (lambda: ops.Concat((), 0), "of nothing"),
        (lambda: ops.Gather(X, X), "indices are"),
        (lambda: ops.Gather(X, IDS, 2), "axis 2"),
        (lambda: ops.OneHot(X, 3), "ids are"),
        (lambda: ops.OneHot(IDS, 0), "depth 0"),
        (lambda: ops.ReduceSum(X, ()), "axes \\(\\)"),
        (lambda: ops.ReduceSum(X, (1, -1)), "axes \\(1, -1\\)"),
        (lambda: ops.Softmax(X, 2), "axis 2"),
        (lambda: ops.LayerNorm(X, W, W, 0.1), "does not fit rows"),
        (lambda: ops.Where(X, X, X), "the condition is f32"),
        (lambda: ops.And(X, X), "not both bool"),
        (lambda: ops.Not(X), "not bool"),
    ],
)
def test_an_op_that_does_not_fit_cannot_be_built(make: object, reason: str) -> None:
    assert callable(make)
    with pytest.raises(IRError, match=reason):
        make()
