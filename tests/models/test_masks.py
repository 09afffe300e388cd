"""Masks as exporters write them, wherever they come in, whatever reads them, against ONNX Runtime."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from nets import ALLOWED, BATCH, TOKENS, WIDTH, Net, compiled, feeds, worst_error
from whole import cost_as_predicted, simulated_errors, two_parties

import ppc
from ppc.frontend.read.run import run
from ppc.passes.errors import RangeError

LOW = float(np.finfo(np.float32).min)

Form = Callable[[Net], str]
FORMS: dict[str, Form] = {}


def form(build: Form) -> Form:
    """Called by what it is named after."""
    FORMS[build.__name__.replace("_", " ")] = build
    return build


def _added(n: Net, low: float = -1e9) -> str:
    """[batch, 1, 1, tokens]"""
    return n.op("Mul", n.op("Sub", 1.0, n.kept()), low)


def _masked(n: Net, low: float = -1e9) -> str:
    """[batch, 1, tokens, tokens]"""
    return n.op("Add", n.scores(), _added(n, low))


def _soft(n: Net, x: str, axis: int = -1) -> str:
    return n.attended(n.op("Softmax", x, axis=axis))


# ---- right under a softmax


def _causal(value: float) -> np.ndarray:
    return np.where(np.tri(TOKENS, dtype=bool), 0.0, value)


@form
def mask_of_minus_a_lot_times_what_is_not_kept(n: Net) -> str:
    mask = n.op("Mul", n.op("Sub", 1.0, n.kept()), LOW)
    return n.attended(n.op("Softmax", n.op("Add", n.scores(), mask)))


@form
def mask_of_minus_infinity_added(n: Net) -> str:
    mask = n.op("Where", n.kept_bits(), 0.0, -np.inf)
    return n.attended(n.op("Softmax", n.op("Add", n.scores(), mask)))


@form
def mask_chosen_by_where(n: Net) -> str:
    return n.attended(n.op("Softmax", n.op("Where", n.kept_bits(), n.scores(), LOW)))


@form
def mask_chosen_where_it_is_not_kept(n: Net) -> str:
    return n.attended(n.op("Softmax", n.op("Where", n.op("Not", n.kept_bits()), -1e9, n.scores())))


@form
def mask_of_bits_joined_with_a_causal_one(n: Net) -> str:
    both = n.op("And", n.kept_bits(), np.tri(TOKENS, dtype=bool))
    return n.attended(n.op("Softmax", n.op("Where", both, n.scores(), -np.inf)))


@form
def mask_expanded_to_every_row_first(n: Net) -> str:
    wide = n.op("Expand", n.kept(), np.array([BATCH, 1, TOKENS, TOKENS]))
    left = n.op("Sub", 1.0, wide)
    mask = n.op("Where", n.op("Cast", left, to=9), LOW, left)
    return n.attended(n.op("Softmax", n.op("Add", n.scores(), mask)))


@form
def mask_swallowed_by_a_bias(n: Net) -> str:
    bias = n.const(n.rng.normal(size=(1, 1, TOKENS, TOKENS)))
    return n.attended(n.op("Softmax", n.op("Add", n.scores(), n.op("Where", n.kept_bits(), bias, LOW))))


@form
def masks_causal_and_of_padding_added_one_after_the_other(n: Net) -> str:
    causal = n.op("Add", n.scores(), _causal(-1e4))
    return n.attended(n.op("Softmax", n.op("Add", causal, n.op("Mul", n.op("Sub", 1.0, n.kept()), -1e4))))


@form
def mask_causal_made_by_trilu(n: Net) -> str:
    upper = n.op("Trilu", np.full((TOKENS, TOKENS), LOW), np.array(1), upper=1)
    return n.attended(n.op("Softmax", n.op("Add", n.scores(), upper)))


@form
def nan_guard_after_the_softmax(n: Net) -> str:
    p = n.op("Softmax", n.op("Add", n.scores(), n.op("Where", n.kept_bits(), 0.0, -np.inf)))
    return n.attended(n.op("Where", n.op("IsNaN", p), 0.0, p))


# ---- something between


@form
def scaled_by_a_number_of_the_formula(n: Net) -> str:
    return _soft(n, n.op("Div", _masked(n, -1e4), 8.0))


@form
def scaled_by_a_number_of_the_servers(n: Net) -> str:
    return _soft(n, n.op("Mul", _masked(n, LOW), 0.37))


@form
def scaled_up_and_chosen(n: Net) -> str:
    return _soft(n, n.op("Mul", n.op("Where", n.kept_bits(), n.scores(), -1e4), 1.7))


@form
def scaled_row_by_row(n: Net) -> str:
    return _soft(n, n.op("Mul", _masked(n), n.rng.uniform(0.3, 2.0, (1, 1, TOKENS, 1))))


@form
def scaled_twice_and_turned(n: Net) -> str:
    x = n.op("Mul", _masked(n, -1e4), 0.61)
    turned = n.op("Transpose", n.op("Mul", x, n.op("Identity", 0.83)), perm=[0, 1, 3, 2])
    return n.attended(n.op("Transpose", n.op("Softmax", turned, axis=2), perm=[0, 1, 3, 2]))


@form
def negated_and_back(n: Net) -> str:
    return _soft(n, n.op("Mul", n.op("Neg", _masked(n)), -0.7))


@form
def subtracted(n: Net) -> str:
    return _soft(n, n.op("Mul", n.op("Sub", n.scores(), _added(n, 1e9)), 0.9))


@form
def reshaped_to_rows(n: Net) -> str:
    rows = n.op("Softmax", n.op("Reshape", _masked(n), np.array([BATCH * TOKENS, TOKENS])), axis=1)
    return n.attended(n.op("Reshape", rows, np.array([BATCH, 1, TOKENS, TOKENS])))


@form
def reshaped_to_heads_in_one_axis(n: Net) -> str:
    """The mask comes in before the heads' axis is laid flat and split again."""
    flat = n.op("Reshape", n.op("Where", n.kept_bits(), n.scores(), LOW), np.array([-1, TOKENS, TOKENS]))
    back = n.op("Reshape", n.op("Mul", flat, 0.45), np.array([BATCH, 1, TOKENS, TOKENS]))
    return _soft(n, back)


@form
def expanded_to_two_heads(n: Net) -> str:
    wide = n.op("Expand", _masked(n, LOW), np.array([BATCH, 2, TOKENS, TOKENS]))
    p = n.op(
        "ReduceSum", n.op("Softmax", n.op("Add", wide, n.rng.normal(size=(2, 1, TOKENS)))), np.array([1])
    )
    return n.attended(p)


@form
def bounded_below_by_a_maximum(n: Net) -> str:
    return _soft(n, n.op("Max", _masked(n, LOW), LOW))


@form
def bounded_below_by_a_clip(n: Net) -> str:
    return _soft(n, n.op("Clip", _masked(n, -1e9), -1e6))


@form
def a_second_mask_after_the_scale(n: Net) -> str:
    first = n.op("Where", np.tri(TOKENS, dtype=bool), n.scores(), -1e9)
    return _soft(n, n.op("Add", n.op("Mul", first, 0.31), _added(n, LOW)))


@form
def a_bias_after_the_mask(n: Net) -> str:
    bias = n.rng.normal(size=(1, 1, TOKENS, TOKENS))
    return _soft(n, n.op("Reshape", n.op("Add", _masked(n, LOW), bias), np.array([BATCH, 1, TOKENS, -1])))


@form
def shared_scores_added_after_the_mask(n: Net) -> str:
    return _soft(n, n.op("Mul", n.op("Add", n.scores(), _masked(n)), 0.5))


@form
def a_column_beside_the_masked_ones(n: Net) -> str:
    sink = n.op("Expand", n.const(np.full((1, 1, 1, 1), 0.4)), np.array([BATCH, 1, TOKENS, 1]))
    p = n.op("Softmax", n.op("Concat", _masked(n, -1e4), sink, axis=3), axis=3)
    return n.attended(n.op("Slice", p, np.array([0]), np.array([TOKENS]), np.array([3])))


@form
def columns_that_a_pad_masks(n: Net) -> str:
    wide = n.op("Pad", _masked(n, -1e4), np.array([0, 0, 0, 0, 0, 0, 0, 2]), -1e4)
    p = n.op("Softmax", n.op("Mul", wide, 0.5))
    return n.attended(n.op("Slice", p, np.array([0]), np.array([TOKENS]), np.array([3])))


@form
def a_slice_of_a_wider_causal_mask(n: Net) -> str:
    wide = n.op("Expand", n.scores(), np.array([BATCH, 3, TOKENS, TOKENS]))
    masked = n.op("Where", np.tri(TOKENS, dtype=bool), n.op("Add", wide, _added(n, -1e4)), LOW)
    return _soft(n, n.op("Slice", masked, np.array([1]), np.array([2]), np.array([1])))


@form
def a_softmax_in_pieces(n: Net) -> str:
    x = n.op("Div", _masked(n, -1e9), 3.0)
    e = n.op("Exp", n.op("Sub", x, n.op("ReduceMax", x, axes=[-1], keepdims=1)))
    return n.attended(n.op("Div", e, n.op("ReduceSum", e, np.array([-1]), keepdims=1)))


# ---- other readers


def _bits(n: Net) -> str:
    """[batch, tokens, 1]"""
    return n.op("Unsqueeze", n.op("Cast", "mask", to=9), np.array([2]))


def _floats(n: Net, low: float) -> str:
    return n.op("Mul", n.op("Sub", 1.0, n.op("Unsqueeze", n.op("Cast", "mask", to=1), np.array([2]))), low)


@form
def maximum_over_the_tokens_that_are_there(n: Net) -> str:
    return n.op("ReduceMax", n.op("Where", _bits(n), n.linear(), -np.inf), axes=[1], keepdims=0)


@form
def maximum_with_a_mask_added(n: Net) -> str:
    y = n.op("ReduceMax", n.op("Add", n.linear(), _floats(n, LOW)), axes=[1], keepdims=1)
    return n.linear(y)


@form
def maximum_with_a_product_and_a_mask(n: Net) -> str:
    """x·m − 10⁹·(1 − m)"""
    kept = n.op("Unsqueeze", n.op("Cast", "mask", to=1), np.array([2]))
    x = n.op("Add", n.op("Mul", n.linear(), kept), _floats(n, -1e9))
    return n.op("ReduceMax", n.op("Transpose", x, perm=[0, 2, 1]), axes=[2], keepdims=0)


@form
def maximum_over_two_axes(n: Net) -> str:
    """[batch, tokens / 2, 2, width]"""
    x = n.op("Reshape", n.op("Where", _bits(n), n.linear(), -1e4), np.array([BATCH, -1, 2, WIDTH]))
    return n.op("ReduceMax", n.op("Mul", x, 0.3), axes=[1, 2], keepdims=0)


@form
def minimum_over_the_tokens_that_are_there(n: Net) -> str:
    return n.op("ReduceMin", n.op("Where", _bits(n), n.linear(), -LOW), axes=[1], keepdims=0)


@form
def maximum_and_minimum_beside_each_other(n: Net) -> str:
    x = n.linear()
    high = n.op("ReduceMax", n.op("Add", x, _floats(n, -1e9)), axes=[1], keepdims=0)
    low = n.op("ReduceMin", n.op("Sub", x, _floats(n, -1e9)), axes=[1], keepdims=0)
    return n.op("Concat", high, low, axis=1)


@form
def relu_of_what_is_masked_and_scaled(n: Net) -> str:
    x = n.op("Mul", n.op("Where", n.kept_bits(), n.scores(), LOW), 0.6)
    return n.attended(n.op("Relu", n.op("Reshape", x, np.array([BATCH, 1, TOKENS, TOKENS]))))


@form
def masked_scores_as_they_are(n: Net) -> str:
    """A result: what is not masked keeps its digits."""
    return n.op("Where", np.tri(TOKENS, dtype=bool), n.op("Mul", n.scores(), 0.01), -100.0)


# ---- softmax before opset 13, over all axes from one on


def _old_scores(n: Net) -> str:
    """[batch, tokens, tokens], what is not kept masked"""
    kept = n.op("Reshape", n.op("Cast", "mask", to=1), np.array([BATCH, 1, TOKENS]))
    scores = n.op("MatMul", n.linear(), n.op("Transpose", n.linear(), perm=[0, 2, 1]))
    return n.op("Add", scores, n.op("Mul", n.op("Sub", 1.0, kept), -1e9))


def flat_over_what_has_one_channel(n: Net) -> str:
    x = n.linear()
    p = n.op("Softmax", n.op("MatMul", x, n.rng.normal(size=(WIDTH, 1))))
    return n.op("ReduceSum", n.op("Mul", p, x), axes=[1], keepdims=0)


def flat_over_a_matrix_that_is_masked(n: Net) -> str:
    return n.op("MatMul", n.op("Softmax", _old_scores(n), axis=1), n.linear())


def flat_over_all(n: Net) -> str:
    return n.op("MatMul", n.op("Softmax", n.op("Mul", _old_scores(n), 0.15), axis=-3), n.linear())


def over_the_last_axis(n: Net) -> str:
    return n.op("MatMul", n.op("Softmax", _old_scores(n), axis=-1), n.linear())


@pytest.mark.parametrize("name", FORMS)
def test_a_mask_acts_as_in_onnx_runtime(tmp_path: Path, name: str) -> None:
    assert worst_error(tmp_path, FORMS[name]) < ALLOWED


@pytest.mark.parametrize("opset", [11, 12])
@pytest.mark.parametrize(
    "build",
    [flat_over_what_has_one_channel, flat_over_a_matrix_that_is_masked, flat_over_all, over_the_last_axis],
)
def test_a_softmax_of_old_acts_as_in_onnx_runtime(tmp_path: Path, build: Form, opset: int) -> None:
    assert worst_error(tmp_path, build, opset) < ALLOWED


@pytest.mark.parametrize(
    "build",
    [scaled_by_a_number_of_the_servers, columns_that_a_pad_masks, minimum_over_the_tokens_that_are_there],
)
def test_two_parties_mask_at_the_price_foretold(tmp_path: Path, build: Form) -> None:
    path, made = compiled(tmp_path, build)
    given = {each.name: feeds(3)[each.name] for each in made.plan.inputs}
    server, client = two_parties(made, given)
    assert client.outputs is not None
    (wanted,) = run(path, given, list(client.outputs)).values()
    (got,) = client.outputs.values()
    assert np.abs(got - wanted).max() < 2 * ALLOWED * wanted.std()
    assert cost_as_predicted(server, client)


@pytest.mark.parametrize("build", [mask_chosen_by_where, scaled_by_a_number_of_the_servers])
def test_data_without_padding_leaves_room_for_it(tmp_path: Path, build: Form) -> None:
    path, _ = compiled(tmp_path, build)
    seen = [{**feeds(seed), "mask": np.ones((BATCH, TOKENS), np.int64)} for seed in range(8, 24)]
    made = ppc.compile(path, calibrate=seen)
    (error,) = simulated_errors(path, made, [feeds(seed) for seed in range(4)]).values()
    assert error.worst < 5 * ALLOWED


def gated(n: Net) -> str:
    return _soft(n, n.op("Mul", _masked(n, -1e4), n.op("Sigmoid", n.scores())))


def gated_as_a_matrix(n: Net) -> str:
    return n.op(
        "MatMul", n.op("Where", n.kept_bits(), n.scores(), -1e5), n.op("Unsqueeze", n.linear(), np.array([1]))
    )


def result_of_float_minimum(n: Net) -> str:
    return n.op("Where", _bits(n), n.linear(), LOW)


@pytest.mark.parametrize(
    ("build", "said"),
    [
        (gated, r"Mul Mul\d+ .* neither party knows"),
        (gated_as_a_matrix, r"MatMul MatMul\d+ .* neither party knows"),
        (result_of_float_minimum, r"Where\d+ .* needs a ring"),
    ],
)
def test_what_cannot_be_right_is_refused(tmp_path: Path, build: Form, said: str) -> None:
    with pytest.raises(RangeError, match=said):
        compiled(tmp_path, build)
