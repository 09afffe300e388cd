"""One plan at several lengths: the shortest that fits, padding only where a mask covers it, weights once."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest
from sides import serving_here
from tiny import tiny_plan, tiny_weights

from ppc.backend.merge_lengths import merge_lengths
from ppc.runtime.base.errors import BadInput, BadPlan, RangeFault
from ppc.runtime.plan.file import InputSpec, Options, Plan, decode, load_weights, save_weights
from ppc.runtime.service.client import Client
from ppc.runtime.service.options import SessionOptions
from ppc.runtime.service.server import Server
from ppc.runtime.session.inputs import check_inputs, fit


def of_length(n: int, masked: bool = True) -> Plan:
    """Only inputs matter here, which tell the plans apart."""
    inputs = [InputSpec("ids", (1, n), "int", 0, 10)]
    if masked:
        inputs.append(InputSpec("attention_mask", (1, n), "int"))
    return msgspec.structs.replace(
        tiny_plan(), inputs=tuple(inputs), options=Options(seq_len=n, byte_price=1e-7)
    )


def several(masked: bool = True) -> Plan:
    plans = [of_length(n, masked) for n in (4, 8, 16)]
    return msgspec.structs.replace(plans[-1], shorter=tuple(plans[:-1]))


def ids(n: int) -> dict[str, np.ndarray]:
    return {"ids": np.full((1, n), 7), "attention_mask": np.ones((1, n), np.int64)}


@pytest.mark.parametrize(("given", "chosen"), [(1, 4), (4, 4), (5, 8), (8, 8), (9, 16), (16, 16)])
def test_the_shortest_length_that_fits_is_taken_and_padded(given, chosen):
    plan, feeds = fit(several(), ids(given))
    assert plan.options.seq_len == chosen
    assert feeds["ids"].tolist() == [[7] * given + [0] * (chosen - given)]
    assert feeds["attention_mask"].tolist() == [[1] * given + [0] * (chosen - given)]


def test_what_fits_no_length_is_named():
    with pytest.raises(BadInput, match=r"'ids' of shape \(1, 17\)"):
        fit(several(), ids(17))
    with pytest.raises(BadInput, match="no length"):
        fit(several(), {"ids": np.zeros(4, np.int64), "attention_mask": np.ones((1, 4), np.int64)})


def test_nothing_is_padded_without_a_mask():
    plan, _ = fit(several(masked=False), {"ids": np.zeros((1, 8), np.int64)})
    assert plan.options.seq_len == 8
    with pytest.raises(BadInput, match="the model has no mask"):
        fit(several(masked=False), {"ids": np.zeros((1, 7), np.int64)})


def test_axes_that_all_lengths_share_are_never_padded():
    with pytest.raises(BadInput, match="no length"):
        fit(several(), {"ids": np.zeros((0, 4), np.int64), "attention_mask": np.ones((1, 4), np.int64)})


@pytest.mark.parametrize("given", [1, 3, 7, 8])
def test_a_plan_of_one_length_pads_as_one_of_several_does(given):
    plan, feeds = fit(of_length(8), ids(given))
    assert plan.options.seq_len == 8
    assert feeds["ids"].tolist() == [[7] * given + [0] * (8 - given)]
    assert feeds["attention_mask"].tolist() == [[1] * given + [0] * (8 - given)]


def test_every_axis_along_the_prompt_is_padded_and_no_other():
    shapes = {"mask": (1, 1, 8, 8), "ids": (8,), "x": (1, 8, 3), "y": (8, 8)}
    inputs = tuple(InputSpec(name, shape, "float") for name, shape in shapes.items())
    plan = msgspec.structs.replace(of_length(8), inputs=inputs)
    given = {"mask": (1, 1, 5, 5), "ids": (5,), "x": (1, 5, 3), "y": (5, 5)}
    _, feeds = fit(plan, {name: np.ones(shape) for name, shape in given.items()})
    assert {name: x.shape for name, x in feeds.items()} == {**shapes, "y": (5, 8)}  # the first is the batch's


@pytest.mark.parametrize(
    ("plan", "feeds"),
    [
        (of_length(8, masked=False), {"ids": np.zeros((1, 3), np.int64)}),
        (of_length(8), {"ids": np.zeros((1, 3), np.int64)}),
        (of_length(8), ids(9)),
        (of_length(8), {"ids": np.zeros((1, 0), np.int64), "attention_mask": np.zeros((1, 0), np.int64)}),
        (of_length(8), {"ids": np.zeros((1, 4), np.int64), "attention_mask": np.ones((1, 5), np.int64)}),
        (of_length(8), {"ids": np.zeros(3, np.int64), "attention_mask": np.ones((1, 3), np.int64)}),
        (of_length(8), {"ids": np.zeros((1, 3), np.int64), "attention_mask": np.ones((), np.int64)}),
    ],
)
def test_what_a_plan_of_one_length_does_not_pad_is_refused(plan, feeds):
    with pytest.raises(BadInput, match=r"shape|missing"):
        check_inputs(*fit(plan, feeds))


# ---- the range of each input


def bounded(bound: str) -> Plan:
    inputs = (InputSpec("pixels", (1, 3), "float", -2.5, 2.5, bound),)
    return msgspec.structs.replace(tiny_plan(), inputs=inputs)


@pytest.mark.parametrize("inside", [[0, 1, -1], [2.5, -2.5, 0]])
def test_what_lies_in_the_range_is_taken(inside):
    assert check_inputs(bounded("assumed"), {"pixels": [inside]})["pixels"].shape == (1, 3)


@pytest.mark.parametrize("outside", [[0, 0, 255], [-2.51, 0, 0]])
@pytest.mark.parametrize(
    ("bound", "fault", "status", "remedy"),
    [
        ("assumed", RangeFault, 6, "was assumed for want of samples; compile again with --calibrate"),
        ("samples", RangeFault, 6, "calibrate on samples that go as far"),
        ("table", BadInput, 2, "]"),
    ],
)
def test_what_lies_outside_is_refused_with_its_remedy(outside, bound, fault, status, remedy):
    with pytest.raises(fault, match=r"input 'pixels' holds (255|-2.51), outside \[-2.5, 2.5\]") as caught:
        check_inputs(bounded(bound), {"pixels": [outside]})
    assert caught.value.exit_status == status
    assert str(caught.value).endswith(remedy) or remedy in str(caught.value)


def test_a_range_that_nobody_can_mean_is_no_plan():
    for low, high in ((1.0, float("nan")), (float("inf"), None), (3, 2)):
        inputs = (InputSpec("x", (1, 3), "float", low, high),)
        with pytest.raises(BadPlan, match="'x' is in"):
            decode(msgspec.structs.replace(tiny_plan(), inputs=inputs, local=()).body)


def test_a_plan_is_the_same_when_it_is_read_and_written_again():
    for low, high in ((0, 5), (-2.5, 2.0)):
        inputs = (InputSpec("ids", (1, 4), "int", low, high),)
        plan = msgspec.structs.replace(tiny_plan(), inputs=inputs)
        assert decode(plan.body).hash == plan.hash


def test_equal_weights_are_kept_once_and_unequal_ones_apart(tmp_path):
    short, long = tiny_plan("short"), tiny_plan("long")
    other = tiny_weights() | {"bias": tiny_weights()["bias"] + 1}
    plan, weights = merge_lengths([(short, tiny_weights()), (long, other)])
    assert sorted(weights) == ["bias", "bias#2", "gamma", "table"]
    assert [s.weight for s in plan.steps if hasattr(s, "weight")] == ["table", "bias#2", *["gamma"] * 2]
    assert plan.shorter == (short,)
    decode(plan.body)
    save_weights(weights, plan, tmp_path / "w")
    assert sorted(load_weights(tmp_path / "w", plan)) == sorted(weights)


def test_lengths_do_not_nest_or_repeat():
    plan = msgspec.structs.replace(tiny_plan("a"), shorter=(several(),))
    with pytest.raises(BadPlan, match="still shorter"):
        decode(plan.body)
    twice = msgspec.structs.replace(tiny_plan("a"), shorter=(tiny_plan("b"), tiny_plan("b")))
    with pytest.raises(BadPlan, match="same plan"):
        decode(twice.body)


def test_a_server_of_all_lengths_answers_the_one_the_client_chose():
    """A client that holds only the short plan is served by a server that holds both."""
    short = tiny_plan("short")
    plan, weights = merge_lengths([(short, tiny_weights()), (tiny_plan("long"), tiny_weights())])
    patient = SessionOptions(timeout=20)
    with serving_here(Server(plan, weights, patient)) as (address, _):
        outcome = Client(short, patient).run({"ids": np.array([[3, 0, 10, 7]])}, address)
    assert outcome.outputs is not None
    assert outcome.report["plan"] == short.hash
