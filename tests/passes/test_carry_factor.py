import numpy as np
import pytest
from rewriting import becomes, graph, inp, num, refuses, same_value, text

from ppc.frontend.ir import ops
from ppc.passes.carry_factor import carry_factor
from ppc.passes.fold_affine import fold_affine

RNG = np.random.default_rng(0)
C = ops.Const(np.array(2.0, np.float32), True)
HEADS = ops.Const(np.array([2.0, 3.0], np.float32).reshape(2, 1, 1), True)
ROW = ops.Const(np.array([1.0, 2.0, 3.0], np.float32), True)


def weight(rows, columns, secret=True):
    return ops.Const(RNG.normal(size=(rows, columns)).astype(np.float32), secret)


def hidden(*shape, name="x"):
    """Neither party knows it."""
    return ops.MatMul(inp(*shape, name=name), weight(shape[-1], shape[-1]))


H = hidden(4, 3)
X = "%0 = Input(x)\n%1 = Const(secret)\n%2 = MatMul(%0, %1)\n"


def mean(x):
    return ops.Mul(ops.ReduceSum(x, axes=(x.type.rank - 1,), keepdims=True), num(1 / 3))


def test_a_weight_takes_one_number():
    before = graph(ops.MatMul(ops.Mul(H, C), weight(3, 2)))
    becomes(carry_factor, before, X + "%3 = Const(secret)\n%4 = MatMul(%2, %3)")


def test_a_weight_takes_it_though_something_else_reads_the_value():
    scaled = ops.Mul(H, C)
    before = graph(ops.MatMul(scaled, weight(3, 2)), scaled)
    after = carry_factor(before).graph
    assert after.outputs["y"].operands[0] is after.outputs["y1"].operands[0]
    same_value(before, after)


def test_past_a_product_of_two_shared_values():
    before = graph(ops.Mul(ops.Mul(C, H), ops.Relu(H)))
    becomes(carry_factor, before, X + "%3 = Relu(%2)\n%4 = Mul(%2, %3)\n%5 = Const(secret)\n%6 = Mul(%4, %5)")


def test_two_factors_become_one():
    before = graph(ops.Mul(ops.Mul(H, C), ROW))
    becomes(carry_factor, before, X + "%3 = Const(secret)\n%4 = Mul(%2, %3)")


@pytest.mark.parametrize("factor", [C, HEADS], ids=["number", "heads"])
@pytest.mark.parametrize("right", [False, True])
def test_past_a_product_of_matrices(factor, right):
    scaled, other = ops.Mul(hidden(1, 2, 4, 3), factor), hidden(1, 2, 3, 4, name="v")
    before = graph(ops.MatMul(other, scaled) if right else ops.MatMul(scaled, other))
    after = carry_factor(before).graph
    assert isinstance(after.outputs["y"], ops.Mul)
    assert isinstance(after.outputs["y"].a, ops.MatMul)
    same_value(before, after)


def test_a_factor_of_each_row_does_not_pass_the_right_operand():
    rows = ops.Const(np.arange(1, 4, dtype=np.float32).reshape(3, 1), True)
    product = ops.MatMul(hidden(2, 3, name="v"), ops.Mul(hidden(3, 4), rows))
    refuses(carry_factor, graph(product))


def test_the_factor_of_each_head_ends_in_the_weight_behind_them():
    mixed = ops.MatMul(ops.Mul(hidden(1, 2, 4, 4), HEADS), hidden(1, 2, 4, 3, name="v"))
    joined = ops.Reshape(ops.Transpose(mixed, (0, 2, 1, 3)), (1, 4, 6))
    before = graph(ops.MatMul(joined, weight(6, 5)))
    after = fold_affine(carry_factor(before).graph)
    assert " Mul(" not in text(after)
    same_value(before, after)


def test_a_factor_is_as_small_as_it_can_be_behind_a_reshape():
    before = graph(ops.Reshape(ops.Mul(hidden(2, 4, 3), HEADS), (8, 3)))
    after = carry_factor(before).graph.outputs["y"]
    assert after.b.type.shape == (8, 1)
    same_value(before, graph(after))


def test_past_the_centring_of_a_norm():
    scaled = ops.Mul(H, C)
    before = graph(ops.Sub(scaled, mean(scaled)))
    after = carry_factor(before).graph
    assert text(after).splitlines()[-1] == "%8 = Mul(%6, %7)"
    same_value(before, after)


def test_a_row_does_not_pass_the_centring():
    scaled = ops.Mul(H, ROW)
    refuses(carry_factor, graph(ops.Sub(scaled, mean(scaled))))


def test_past_a_sum_with_what_a_weight_makes():
    before = graph(ops.Add(ops.Mul(H, C), ops.Add(ops.MatMul(ops.Relu(H), weight(3, 3)), ROW)))
    after = carry_factor(before).graph
    assert isinstance(after.outputs["y"], ops.Mul)
    assert text(after).count(" Mul(") == 1
    same_value(before, after)


def test_past_a_sum_with_a_constant():
    becomes(
        carry_factor,
        graph(ops.Add(ops.Mul(H, C), ROW)),
        X + "%3 = Const(secret)\n%4 = Add(%2, %3)\n%5 = Const(secret)\n%6 = Mul(%4, %5)",
    )


def test_a_sum_with_what_no_weight_has_made_refuses():
    refuses(carry_factor, graph(ops.Add(ops.Mul(H, C), ops.Relu(H))), "no weight to take the factor")


def test_a_value_that_is_read_twice_keeps_its_factor():
    scaled = ops.Mul(H, C)
    refuses(carry_factor, graph(ops.Mul(scaled, ops.Relu(H)), scaled), "the scaled value has another user")


@pytest.mark.parametrize(
    "factor",
    [ops.Const(np.array(2.0, np.float32), False), ROW, ops.Const(np.array(0.0, np.float32), True)],
    ids=["public", "a row", "nothing"],
)
def test_other_factors_stay(factor):
    refuses(carry_factor, graph(ops.Mul(ops.Mul(H, factor), ops.Relu(H))))


def test_what_one_party_knows_is_left_to_it():
    refuses(carry_factor, graph(ops.Transpose(ops.Mul(inp(2, 3), num(2.0)), (1, 0))))
