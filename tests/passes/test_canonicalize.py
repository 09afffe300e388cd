"""Each rule on the smallest graph that shows it, and with one thing changed where it must not apply."""

import numpy as np
import pytest
from rewriting import becomes, graph, inp, kinds, num, refuses, row, same_value

from ppc.frontend.ir import ops
from ppc.frontend.ir.graph import BOOL, FLOAT, INT, Op
from ppc.passes.canonicalize import canonicalize

X = inp(2, 3)
Z = inp(2, 3, name="z")
TOKENS = inp(2, 4, 3)
IDS = inp(2, 3, num=INT)
TRUTH = inp(2, 3, num=BOOL)
W = row(1, 2, 3)

ONE_OPERAND: list[tuple[str, Op, str]] = [
    ("x − c", ops.Sub(X, num(3)), "%1 = Const(-3)\n%2 = Add(%0, %1)"),
    ("0 − x", ops.Sub(num(0), X), "%1 = Neg(%0)"),
    ("−1 · x", ops.Mul(X, num(-1)), "%1 = Neg(%0)"),
    ("−−x", ops.Neg(ops.Neg(X)), ""),
    ("x / c", ops.Div(X, num(4)), "%1 = Const(0.25)\n%2 = Mul(%0, %1)"),
    ("x / weights", ops.Div(X, W), "%1 = Const(secret)\n%2 = Mul(%0, %1)"),
    ("1 / x", ops.Div(num(1), X), "%1 = Reciprocal(%0)"),
    ("1 / 1 / x", ops.Reciprocal(ops.Div(num(1), X)), ""),
    ("x · x", ops.Mul(X, X), "%1 = Square(%0)"),
    ("x²", ops.Pow(X, num(2)), "%1 = Square(%0)"),
    ("x³", ops.Pow(X, num(3)), "%1 = Square(%0)\n%2 = Mul(%1, %0)"),
    ("x·x²", ops.Mul(X, ops.Mul(X, X)), "%1 = Square(%0)\n%2 = Mul(%1, %0)"),
    ("x¹", ops.Pow(X, num(1)), ""),
    (
        "x² with an axis more",
        ops.Pow(X, ops.Const(np.full((1,) * (X.type.rank + 1), 2.0))),
        "%1 = Square(%0)\n%2 = Broadcast(%1, shape=(1,2,3))",
    ),
    ("x⁴", ops.Pow(X, num(4)), "%1 = Square(%0)\n%2 = Square(%1)"),
    ("x^−1", ops.Pow(X, num(-1)), "%1 = Reciprocal(%0)"),
    ("√", ops.Pow(ops.Square(X), num(0.5)), "%1 = Square(%0)\n%2 = Sqrt(%1)"),
    ("1/√", ops.Pow(ops.Square(X), num(-0.5)), "%1 = Square(%0)\n%2 = Sqrt(%1)\n%3 = Reciprocal(%2)"),
    ("(x + c) + d", ops.Add(ops.Add(X, num(1)), num(2)), "%1 = Const(3)\n%2 = Add(%0, %1)"),
    ("(x · c) · d", ops.Mul(num(2), ops.Mul(num(3), X)), "%1 = Const(6)\n%2 = Mul(%0, %1)"),
    ("(−x) · c", ops.Mul(ops.Neg(X), num(3)), "%1 = Const(-3)\n%2 = Mul(%0, %1)"),
    ("x + 0", ops.Add(X, num(0)), ""),
    ("x · 1", ops.Mul(X, num(1)), ""),
    ("max(x, 0)", ops.Max(num(0), X), "%1 = Relu(%0)"),
    ("max(x, c)", ops.Max(X, num(0.5)), "%1 = Clip(%0, lo=0.5)"),
    ("min(x, c)", ops.Min(X, num(0.5)), "%1 = Clip(%0, hi=0.5)"),
    ("clip [0, ∞)", ops.Clip(X, 0.0), "%1 = Relu(%0)"),
    ("relu relu", ops.Relu(ops.Relu(X)), "%1 = Relu(%0)"),
    ("Σ / n", ops.Div(ops.ReduceSum(X, (1,)), num(3)), "%1 = ReduceMean(%0, axes=(1), keepdims=true)"),
    ("¬¬x", ops.Not(ops.Not(TRUTH)), ""),
    ("guard", ops.Where(ops.IsNaN(X), num(0), X), ""),
    ("always", ops.Where(ops.Const(np.array(True)), X, num(0)), ""),
    ("∧ true", ops.And(TRUTH, ops.Const(np.array(True))), ""),
    ("∨ false", ops.Or(ops.Const(np.array([False])), TRUTH), ""),
    ("never", ops.Where(ops.Const(np.array(False)), num(0), X), ""),
    ("axes", ops.ReduceMean(TOKENS, (-1, 1), False), "%1 = ReduceMean(%0, axes=(1,2))"),
    ("concat", ops.Concat((X, X), -1), "%1 = Concat(%0, %0, axis=1)"),
    (
        "slice",
        ops.Slice(X, (1,), (3,), (-1,), (1,)),
        "%1 = Slice(%0, starts=(1), ends=(3), axes=(1), steps=(1))",
    ),
    ("reshapes", ops.Reshape(ops.Reshape(X, (6,)), (3, 2)), "%1 = Reshape(%0, shape=(3,2))"),
    ("and back", ops.Reshape(ops.Reshape(X, (6,)), (2, 3)), ""),
    (
        "transposes",
        ops.Transpose(ops.Transpose(TOKENS, (1, 0, 2)), (0, 2, 1)),
        "%1 = Transpose(%0, perm=(1,2,0))",
    ),
    ("transposed back", ops.Transpose(ops.Transpose(TOKENS, (1, 2, 0)), (2, 0, 1)), ""),
    ("a transpose of ones", ops.Transpose(inp(2, 1, 3), (1, 0, 2)), "%1 = Reshape(%0, shape=(1,2,3))"),
    (
        "broadcasts",
        ops.Broadcast(ops.Broadcast(X, (1, 2, 3)), (4, 2, 3)),
        "%1 = Broadcast(%0, shape=(4,2,3))",
    ),
    ("same cast", ops.Cast(X, FLOAT), ""),
    ("whole slice", ops.Slice(X, (0,), (3,), (1,), (1,)), ""),
    ("concat of one", ops.Concat((X,), 0), ""),
    ("a sum of one", ops.ReduceSum(inp(2, 1, 3), (1,), False), "%1 = Reshape(%0, shape=(2,3))"),
    (
        "a known place",
        ops.Gather(TOKENS, ops.Const(np.int64(-4)), 1),
        "%1 = Slice(%0, starts=(0), ends=(1), axes=(1), steps=(1))\n%2 = Reshape(%1, shape=(2,3))",
    ),
    (
        "known places",
        ops.Gather(TOKENS, ops.Const(np.array([1, 3])), 1),
        "%1 = Slice(%0, starts=(1), ends=(4), axes=(1), steps=(2))",
    ),
    (
        "softmax over tokens",
        ops.Softmax(TOKENS, 1),
        "%1 = Transpose(%0, perm=(0,2,1))\n%2 = Softmax(%1, axis=-1)\n%3 = Transpose(%2, perm=(0,2,1))",
    ),
    ("softmax", ops.Softmax(TOKENS, 2), "%1 = Softmax(%0, axis=-1)"),
]


@pytest.mark.parametrize(
    ("op", "expected"), [case[1:] for case in ONE_OPERAND], ids=[case[0] for case in ONE_OPERAND]
)
def test_one_operand(op: Op, expected: str) -> None:
    becomes(canonicalize, graph(op), f"%0 = Input(x)\n{expected}")


def test_constants_stand_right() -> None:
    becomes(canonicalize, graph(ops.Add(num(3), X)), "%0 = Input(x)\n%1 = Const(3)\n%2 = Add(%0, %1)")


def test_a_constant_less_x_stays() -> None:
    refuses(canonicalize, graph(ops.Sub(num(3), X)))


@pytest.mark.parametrize(
    ("op", "expected"),
    [
        (ops.Add(X, ops.Neg(Z)), "Sub(%0, %1)"),
        (ops.Add(ops.Neg(Z), X), "Sub(%0, %1)"),
        (ops.Sub(X, ops.Neg(Z)), "Add(%0, %1)"),
        (ops.Neg(ops.Sub(Z, X)), "Sub(%0, %1)"),
        (ops.Mul(X, ops.Reciprocal(Z)), "Div(%0, %1)"),
        (ops.Mul(ops.Div(num(1), Z), X), "Div(%0, %1)"),
        (ops.Reciprocal(ops.Div(Z, X)), "Div(%0, %1)"),
    ],
    ids=str,
)
def test_two_operands(op: Op, expected: str) -> None:
    becomes(canonicalize, graph(op), f"%0 = Input(x)\n%1 = Input(z)\n%2 = {expected}")


def test_a_factor_moves_out_of_a_product() -> None:
    expected = "%0 = Input(x)\n%1 = Input(z)\n%2 = Mul(%0, %1)\n%3 = Const(3)\n%4 = Mul(%2, %3)"
    becomes(canonicalize, graph(ops.Mul(ops.Mul(X, num(3)), Z)), expected)


def test_a_factor_with_another_user_stays() -> None:
    tripled = ops.Mul(X, num(3))
    refuses(canonicalize, graph(ops.Mul(tripled, Z), tripled))


def test_a_row_stays_where_it_is() -> None:
    refuses(canonicalize, graph(ops.Mul(ops.Mul(X, W), Z)))


def test_where_not() -> None:
    op = ops.Where(ops.Not(TRUTH), num(1), num(2))
    becomes(canonicalize, graph(op), "%0 = Input(x)\n%1 = Const(2)\n%2 = Const(1)\n%3 = Where(%0, %1, %2)")


def test_another_users_value_is_not_computed_twice() -> None:
    inner = ops.Add(X, num(1))
    refuses(canonicalize, graph(ops.Add(inner, num(2)), inner), "another user")
    inverse = ops.Reciprocal(Z)
    refuses(canonicalize, graph(ops.Mul(X, inverse), inverse), "another user")


def test_reasons() -> None:
    refuses(canonicalize, graph(ops.Div(X, row(1, 0, 2))), "a zero")
    refuses(canonicalize, graph(ops.Pow(X, num(5))), "exponent is 5")
    refuses(canonicalize, graph(ops.Pow(X, Z)), "depends on data")
    refuses(canonicalize, graph(ops.Pow(inp(3, num=INT), num(0.5))), "a power of i64[3] is no i64")


def test_a_constant_that_widens_is_no_neutral_one() -> None:
    column = inp(2, 1)
    refuses(canonicalize, graph(ops.Add(column, row(0, 0, 0, secret=False))))
    refuses(canonicalize, graph(ops.Mul(column, row(1, 1, 1, secret=False))))


def test_what_is_not_always_true_stays() -> None:
    refuses(canonicalize, graph(ops.And(TRUTH, ops.Const(np.array([True, False, True])))))


SECRET = [
    ops.Add(X, row(0, 0, 0)),
    ops.Mul(X, row(1, 1, 1)),
    ops.Max(X, ops.Const(np.float32(0.37), True)),
    ops.Min(X, ops.Const(np.float32(0.37), True)),
    ops.Mul(X, ops.Const(np.float32(-1), True)),
    ops.Where(ops.Const(np.array([True] * 3), True), X, Z),
    ops.Where(ops.Const(np.array([False] * 3), True), X, Z),
    ops.And(TRUTH, ops.Const(np.array([True] * 3), True)),
    ops.Or(TRUTH, ops.Const(np.array([False] * 3), True)),
    ops.Gather(X, ops.Const(np.array([0, 1]), True), 1),
]


@pytest.mark.parametrize("op", SECRET, ids=lambda op: type(op).__name__)
def test_the_graph_does_not_tell_what_a_secret_is(op: Op) -> None:
    refuses(canonicalize, graph(op))


def test_a_secret_exponent_is_none() -> None:
    refuses(canonicalize, graph(ops.Pow(X, ops.Const(np.float32(2), True))), "depends on data or a weight")


def test_integers_divide_as_integers() -> None:
    refuses(canonicalize, graph(ops.Div(IDS, ops.Const(np.int64(2)))))


def test_another_divisor_is_no_mean() -> None:
    after = canonicalize(graph(ops.Div(ops.ReduceSum(X, (1,)), num(4)))).graph
    assert "ReduceSum" in kinds(after)


def test_a_guard_that_looks_at_another_value_stays() -> None:
    refuses(canonicalize, graph(ops.Where(ops.IsNaN(Z), num(0), X)))


def test_places_unevenly_apart_stay() -> None:
    refuses(canonicalize, graph(ops.Gather(TOKENS, ops.Const(np.array([0, 1, 3])), 1)))


def test_a_slice_that_turns_round_stays() -> None:
    refuses(canonicalize, graph(ops.Slice(X, (-1,), (-4,), (1,), (-1,))))


def test_operators_broadcast_by_themselves() -> None:
    mask = inp(2, 1, name="z")
    wide = ops.Cast(ops.Broadcast(mask, (2, 3)), FLOAT)
    expected = "%0 = Input(x)\n%1 = Input(z)\n%2 = Mul(%0, %1)"
    becomes(canonicalize, graph(ops.Mul(X, wide)), expected)


def test_a_broadcast_that_is_needed_comes_last() -> None:
    op = ops.Mul(inp(1, 3), ops.Broadcast(inp(1, 3, name="z"), (2, 3)))
    expected = "%0 = Input(x)\n%1 = Input(z)\n%2 = Mul(%0, %1)\n%3 = Broadcast(%2, shape=(2,3))"
    becomes(canonicalize, graph(op), expected)


def test_a_mask_is_made_small() -> None:
    """As the dynamo exporter spells it: kept ∧ true, widened to every query, chosen between 0 and −10⁴."""
    always = ops.Const(np.ones((4, 1), np.bool_))
    mask = ops.Where(ops.And(inp(1, 4, num=BOOL), always), num(0), num(-1e4))
    leaves = "%0 = Input(x)\n%1 = Input(z)\n%2 = Const(0)\n%3 = Const(-10000)"
    expected = f"{leaves}\n%4 = Where(%0, %2, %3)\n%5 = Add(%1, %4)"
    becomes(canonicalize, graph(ops.Add(inp(4, 4, name="z"), mask)), expected)


def test_a_factor_comes_after_a_product() -> None:
    keys = inp(3, 2, name="z")
    op = ops.MatMul(ops.Mul(X, num(2)), ops.Mul(keys, num(3)))
    expected = "%0 = Input(x)\n%1 = Input(z)\n%2 = MatMul(%0, %1)\n%3 = Const(6)\n%4 = Mul(%2, %3)"
    becomes(canonicalize, graph(op), expected)
    doubled = ops.Mul(X, num(2))
    refuses(canonicalize, graph(ops.MatMul(doubled, keys), doubled), "another user")


def test_a_factor_stays_before_a_weight() -> None:
    weight = ops.Const(np.ones((3, 2), np.float32), True)
    refuses(canonicalize, graph(ops.MatMul(ops.Mul(X, num(2)), weight)))


def test_a_product_in_fewer_axes() -> None:
    """Keys transposed with the batch laid into the heads, as the dynamo exporter does."""
    x = inp(1, 5, 4, 3)
    heads = ops.Reshape(ops.Transpose(x, (0, 2, 1, 3)), (4, 5, 3))
    op = ops.Reshape(ops.Transpose(heads, (0, 2, 1)), (1, 4, 3, 5))
    becomes(canonicalize, graph(op), "%0 = Input(x)\n%1 = Transpose(%0, perm=(0,2,3,1))")


def test_a_broadcast_below_a_function_comes_after_it() -> None:
    op = ops.Neg(ops.Broadcast(inp(2, 1), (2, 3)))
    becomes(canonicalize, graph(op), "%0 = Input(x)\n%1 = Neg(%0)\n%2 = Broadcast(%1, shape=(2,3))")


def test_what_is_computed_twice_becomes_a_square() -> None:
    centred = [ops.Sub(X, ops.ReduceMean(X, (axis,))) for axis in (1, -1)]
    before = graph(ops.Mul(*centred))
    after = canonicalize(before).graph
    assert kinds(after) == ["Input", "ReduceMean", "Sub", "Square"]
    same_value(before, after)


def test_it_is_idempotent() -> None:
    for _, op, _ in ONE_OPERAND:
        once = canonicalize(graph(op)).graph
        assert canonicalize(once).graph is once


def slice_of(x: Op, start: int, end: int, axis: int = 1, step: int = 1) -> Op:
    return ops.Slice(x, (start,), (end,), (axis,), (step,))


JOINED = ops.Concat((inp(2, 3, name="a"), inp(2, 4, name="b")), 1)


@pytest.mark.parametrize(
    ("cut", "expected"),
    [
        (slice_of(JOINED, 3, 7), ""),
        (slice_of(JOINED, 4, 6), "\n%2 = Slice(%1, starts=(1), ends=(3), axes=(1), steps=(1))"),
        (slice_of(JOINED, -4, 99), ""),
        (slice_of(JOINED, 3, 7, step=2), "\n%2 = Slice(%1, starts=(0), ends=(3), axes=(1), steps=(2))"),
    ],
)
def test_what_is_cut_out_of_one_part_is_that_part(cut: Op, expected: str) -> None:
    becomes(canonicalize, graph(cut), "%0 = Input(a)\n%1 = Input(b)" + expected)


def test_what_is_cut_out_of_two_parts_stays() -> None:
    for cut in (slice_of(JOINED, 2, 5), slice_of(JOINED, 0, 1, axis=0)):
        assert "Concat" in kinds(canonicalize(graph(cut)).graph)
