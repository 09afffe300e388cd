"""Plans on disk: the same bytes again, every damage refused, no weight inside."""

from __future__ import annotations

import contextlib

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny import tiny_feeds, tiny_plan, tiny_weights

from ppc.runtime import steps
from ppc.runtime.errors import BadInput, BadPlan
from ppc.runtime.executor import check_inputs
from ppc.runtime.plan import decode, load, load_weights, save, save_weights
from ppc.runtime.ring import Fixed


def test_a_plan_survives_the_disk(tmp_path):
    plan = tiny_plan()
    save(plan, tmp_path / "plan.bin")
    again = load(tmp_path / "plan.bin")
    assert again == plan
    assert again.hash == plan.hash
    assert again.body == plan.body


def test_the_same_plan_gives_the_same_bytes():
    assert tiny_plan().body == tiny_plan().body
    assert tiny_plan().hash != tiny_plan("other").hash


@pytest.mark.parametrize("at", [0, 9, 41, 200, -1])
def test_a_flipped_byte_is_refused(tmp_path, at):
    path = tmp_path / "plan.bin"
    save(tiny_plan(), path)
    data = bytearray(path.read_bytes())
    data[at] ^= 1
    path.write_bytes(data)
    with pytest.raises(BadPlan, match=r"checksum|not a plan"):
        load(path)


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_no_body_does_more_than_raise_bad_plan(data):
    body = bytearray(tiny_plan().body)
    for _ in range(data.draw(st.integers(1, 4))):
        body[data.draw(st.integers(0, len(body) - 1))] = data.draw(st.integers(0, 255))
    with contextlib.suppress(BadPlan):
        decode(bytes(body))


def changed(index: int, **fields: object) -> bytes:
    plan = tiny_plan()
    program = list(plan.steps)
    program[index] = msgspec.structs.replace(program[index], **fields)
    return msgspec.structs.replace(plan, steps=tuple(program)).body


@pytest.mark.parametrize(
    ("index", "fields", "says"),
    [
        (3, {"a": 9}, "does not exist yet"),
        (3, {"a": -1}, "does not exist yet"),
        (9, {"num": Fixed(26, 24)}, "cannot rescale"),
        (21, {"cuts": ((0, 1, 1),)}, "cannot cut"),
        (22, {"places": (0, 5)}, "places beyond axis 2"),
        (22, {"places": (-1, 0)}, "places beyond axis 2"),
        (22, {"places": ()}, "places beyond axis 2"),
        (22, {"axis": 3}, "has no axis 3"),
        (23, {"shape": (1, 11)}, "reshape"),
        (0, {"shape": (1, 2**31)}, "shape"),
        (0, {"local": 7}, "local value 7"),
        (1, {"weight": "gamma"}, "wants weight 'gamma'"),
        (25, {"x": 3}, "output 'y' of shape"),
    ],
)
def test_an_ill_formed_step_is_named(index, fields, says):
    with pytest.raises(BadPlan, match=says):
        decode(changed(index, **fields))


def test_a_plan_may_reveal_only_the_outputs_it_names():
    plan = tiny_plan()
    program = (*plan.steps, steps.Output(name="hidden", x=3))
    with pytest.raises(BadPlan, match="reveal other values"):
        decode(msgspec.structs.replace(plan, steps=program).body)


def test_a_plan_that_is_not_there_is_the_users_mistake(tmp_path):
    with pytest.raises(BadInput, match="No such file"):
        load(tmp_path / "none.bin")


def test_weights_survive_the_disk_and_belong_to_one_plan(tmp_path):
    plan, weights = tiny_plan(), tiny_weights()
    save_weights(weights, plan, tmp_path / "w")
    again = load_weights(tmp_path / "w", plan)
    assert all(np.array_equal(again[name], weights[name]) for name in weights)
    with pytest.raises(BadPlan, match="weights of plan"):
        load_weights(tmp_path / "w", tiny_plan("other"))
    with pytest.raises(BadInput, match="no such file"):
        load_weights(tmp_path / "none", plan)
    (tmp_path / "junk").write_bytes(b"junk")
    with pytest.raises(BadPlan, match="not a readable"):
        load_weights(tmp_path / "junk", plan)


@pytest.mark.parametrize(
    ("feeds", "says"),
    [
        ({}, "'ids' is missing"),
        (tiny_feeds() | {"more": np.zeros(1)}, "'more' is not one of"),
        ({"ids": np.zeros((1, 5), np.int64)}, "has shape"),
        ({"ids": np.zeros((1, 4))}, "holds float64"),
        ({"ids": np.array([[0, 1, 2, 11]])}, r"holds 11, outside \[0, 10\]"),
        ({"ids": np.array([[0, 1, -2, 1]])}, "holds -2"),
    ],
)
def test_wrong_inputs_are_named(feeds, says):
    with pytest.raises(BadInput, match=says):
        check_inputs(tiny_plan(), feeds)
