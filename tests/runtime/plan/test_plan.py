"""Plans on disk: the same bytes again, every damage refused, no weight inside."""

from __future__ import annotations

import contextlib
import dataclasses
import subprocess
import sys

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny import VOCABULARY, tiny_feeds, tiny_plan, tiny_weights

import ppc
from ppc.runtime.base.errors import BadInput, BadPlan
from ppc.runtime.base.function import Broadcast, CumSum, Gather, OneHot, Plain, Reshape, Slice, Top
from ppc.runtime.base.ring import Fixed
from ppc.runtime.plan import steps
from ppc.runtime.plan.file import (
    ANYWHERE,
    VERSION,
    OutputSpec,
    WeightSpec,
    decode,
    load,
    load_weights,
    release,
    save,
    save_weights,
)
from ppc.runtime.plan.local import Apply, Const, Input, Packed
from ppc.runtime.protocols.spline import SplineSpec
from ppc.runtime.session.inputs import check_inputs
from ppc.runtime.session.simulate import simulate


def test_a_plan_survives_the_disk(tmp_path):
    plan = tiny_plan()
    save(plan, tmp_path / "plan.bin")
    again = load(tmp_path / "plan.bin")
    assert again == plan
    assert again.hash == plan.hash
    assert again.body == plan.body


def test_a_plan_of_another_version_is_named_whatever_else_it_holds():
    said = msgspec.to_builtins(tiny_plan()) | {"version": 2, "options": {"seq_len": "16"}, "scale": 12}
    told = r"^old.bin: written by a ppc older than 0.1.0 \(plan version 2\), this is ppc 0.1.0 .*; compile"
    with pytest.raises(BadPlan, match=told):
        decode(msgspec.msgpack.encode(said), "old.bin")


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
        (25, {"watched": ()}, "watches nothing"),
        (25, {"watched": (steps.Guarded(10, 0, 1 << 25),)}, "beyond i26f8"),
        (25, {"watched": (steps.Guarded(26, 0, 1),)}, "a value that does not exist yet"),
        (26, {"x": 3}, "output 'y' of shape"),
        (27, {"drop": 1}, "a place among 10 with 1 bits dropped"),
        (27, {"x": 10}, "a place among 1 with 0 bits dropped"),
    ],
)
def test_an_ill_formed_step_is_named(index, fields, says):
    with pytest.raises(BadPlan, match=says):
        decode(changed(index, **fields))


SPECS = tiny_plan()


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"steps": (), "outputs": ()}, "0 steps, not 1 to"),
        ({"inputs": (msgspec.structs.replace(SPECS.inputs[0], kind="ids"),)}, "of kind 'ids', which is none"),
        ({"inputs": (msgspec.structs.replace(SPECS.inputs[0], shape=(1, -4)),)}, "'ids' among its inputs"),
        ({"inputs": SPECS.inputs * 2}, "two inputs of one name"),
        ({"outputs": (msgspec.structs.replace(SPECS.outputs[0], shape=(-1, -10)),)}, "'y' among its outputs"),
        ({"weights": (*SPECS.weights, WeightSpec("more", (2**40,), 9))}, "'more' among its weights"),
        ({"weights": (*SPECS.weights, WeightSpec("more", (2, -1), 9))}, "'more' among its weights"),
        ({"weights": (*SPECS.weights, WeightSpec("more", (2,), 65))}, "'more' has 65 bits"),
    ],
)
def test_what_no_plan_says_is_named(fields, says):
    with pytest.raises(BadPlan, match=says):
        decode(msgspec.structs.replace(SPECS, **fields).body)


def test_a_client_value_of_another_shape_than_its_step_says():
    one_hot = Apply(OneHot(VOCABULARY - 1), (0,))
    plan = msgspec.structs.replace(SPECS, local=(SPECS.local[0], one_hot))
    with pytest.raises(BadPlan, match=r"'/in/ids' has shape \(1, 4, 10\), which does not repeat"):
        simulate(decode(plan.body), tiny_weights(), {"ids": np.zeros((1, 4), np.int64)})


BUMP = next(step.spec for step in SPECS.steps if isinstance(step, steps.Spline))


def respelled(**fields: object) -> SplineSpec:
    """The spline of step 4, whose fields are only checked together with its argument's format."""
    return dataclasses.replace(BUMP, **fields)


@pytest.mark.parametrize(
    ("spec", "says"),
    [
        (respelled(out=Fixed(26, 23)), "cannot rescale i24f22 to i26f23"),
        (respelled(pieces=((0, 0, 0),) * 4, out=Fixed(26, 9)), "cannot rescale i26f8 to i26f9"),
        (respelled(compare_bits=1), "no bits are left to compare"),
    ],
)
def test_a_spline_whose_formats_do_not_meet_is_named(spec, says):
    with pytest.raises(BadPlan, match=says):
        decode(changed(4, spec=spec))


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ({"scale": 22}, {"scale": 2000}),
        ({"drop": 0}, {"drop": 2**40}),
        ({"drop": 0}, {"drop": -1}),
        ({"factor": -1}, {"factor": 2**63}),
        ({"values": [3]}, {"values": [2**63]}),
        ({"gates": [[1, 1]]}, {"gates": [[1, 2**63]]}),
    ],
    ids=str,
)
def test_integers_that_no_array_or_ring_holds_are_refused(old, new):
    """Written by hand: such records cannot be made here either."""
    (name, was), (_, now) = *old.items(), *new.items()
    tree = msgspec.msgpack.decode(SPECS.body)
    places = [each for each in dictionaries(tree) if each.get(name) == was]
    assert places
    for each in places:
        each[name] = now
    with pytest.raises(BadPlan):
        decode(msgspec.msgpack.encode(tree))


def dictionaries(tree):
    inner = tree.values() if isinstance(tree, dict) else tree if isinstance(tree, list) else ()
    return [tree] * isinstance(tree, dict) + [found for each in inner for found in dictionaries(each)]


@pytest.mark.parametrize(
    ("record", "says"),
    [
        (Apply(OneHot(2**40), (0,)), "OneHot cannot be computed: .*rows of 1099511627776"),
        (Apply(CumSum(7, False, False), (0,)), "CumSum cannot be computed: axis 7 is out of bounds"),
        (Apply(Gather(2), (0, 0)), "Gather cannot be computed: axis 2 of 2"),
        (Apply(Gather(1), (0, 0)), "Gather cannot be computed: index 10 is out of bounds"),
        (Apply(Top(1, 2**40, True, True), (0,)), "Top cannot be computed: 1099511627776 of 4 elements"),
        (Apply(Slice((0,), (4,), (2,), (1,)), (0,)), "Slice cannot be computed: axis 2 of 2"),
        (Apply(Slice((0,), (4,), (1,), (0,)), (0,)), "Slice cannot be computed: slice step cannot be zero"),
        (Apply(Plain("Add"), (0,)), "Add cannot be computed: .*missing 1 required"),
        (Apply(Plain("Add"), (0, 0, 0)), "Add cannot be computed: .*positional"),
        (Const((3,), (1.0,)), "Const cannot be computed: cannot reshape"),
        (Packed((3,), "f8", b"123"), "Packed cannot be computed: buffer"),
    ],
)
def test_a_client_value_that_cannot_be_computed_is_named(record, says):
    plan = msgspec.structs.replace(SPECS, local=(SPECS.local[0], record))
    with pytest.raises(BadInput, match=f"the client's own {says}"):
        simulate(decode(plan.body), tiny_weights(), tiny_feeds())


@pytest.mark.parametrize(
    ("record", "says"),
    [
        (Apply(OneHot(3), (1,)), "local value 1 reads one that does not exist yet"),
        (Apply(OneHot(3), (-1,)), "local value 1 reads one that does not exist yet"),
        (Input("mask"), "local value 1 reads an input 'mask' that the plan does not name"),
        (Apply(Broadcast((2**20, 2**20)), (0,)), r"local value 1 has shape \(1048576, 1048576\)"),
        (Apply(Reshape((-2, -2)), (0,)), r"local value 1 has shape \(-2, -2\)"),
        (Const((2**40,), ()), "local value 1 has shape"),
        (Packed((2**40,), "bits", b""), "local value 1 has shape"),
    ],
)
def test_a_client_value_that_no_plan_has_is_named(record, says):
    plan = msgspec.structs.replace(SPECS, local=(SPECS.local[0], record))
    with pytest.raises(BadPlan, match=f"the client's own part is ill-formed: {says}"):
        decode(plan.body)


@pytest.mark.parametrize(
    ("where", "name", "value", "says"),
    [
        ("function", "op", "Other", "Invalid value 'Other'"),
        ("function", "depth", 2.5, "Expected `int`, got `float`"),
        ("function", "more", 1, "unknown field `more`"),
        ("local", "local", "Other", "Invalid value 'Other'"),
        ("local", "function", {"op": "Plain", "name": "Other"}, "an unknown function 'Other'"),
        ("local", "function", {"op": "Plain", "name": "Softmax"}, "an unknown function 'Softmax'"),
        ("local", "function", {"op": "Gelu", "approx": "other"}, "Invalid enum value 'other'"),
        ("options", "seq_len", 0, "an axis of length 0"),
        ("options", "seq_len", -4, "an axis of length -4"),
        ("options", "dims", {"batch": 2**40}, "an axis of length 1099511627776"),
        ("options", "dims", {"batch": "two"}, "Expected `int`, got `str`"),
        ("options", "byte_price", 0.0, "a byte that costs 0.0 s"),
        ("options", "byte_price", -1, "a byte that costs -1.0 s"),
        ("options", "byte_price", float("inf"), "a byte that costs inf s"),
        ("options", "byte_price", float("nan"), "a byte that costs nan s"),
        ("options", "byte_price", "a lot", "Expected `float`, got `str`"),
        ("options", "more", 1, "unknown field `more`"),
    ],
)
def test_what_no_record_can_say_is_refused(where, name, value, says):
    tree = msgspec.msgpack.decode(SPECS.body)
    record = tree["local"][1]
    {"options": tree["options"], "local": record, "function": record["function"]}[where][name] = value
    with pytest.raises(BadPlan, match=f"not a well-formed plan: .*{says}"):
        decode(msgspec.msgpack.encode(tree))


def large(*program: steps.AnyStep) -> bytes:
    """A plan of a few bytes whose first value is as large as a value may be."""
    first = steps.Encode(local=0, num=Fixed(26, 8), shape=(2**15, 2**15, 1))
    reveal = steps.Output(x=len(program))
    outputs = (OutputSpec("y", len(program) + 1, (2**15, 2**15, 1)),)
    program = (first, *program, reveal)
    return msgspec.structs.replace(SPECS, steps=program, outputs=outputs, weights=(), guard=None).body


def test_what_is_joined_is_not_made_to_see_its_shape():
    """Which would take a gigabyte for each part."""
    with pytest.raises(
        BadPlan, match=r"step 1 \(Concat \) is ill-formed: a value of shape \(1048576, 32768, 1\)"
    ):
        decode(large(steps.Concat(parts=(0,) * 32, axis=0)))
    with pytest.raises(BadPlan, match="cannot join values of shape"):
        decode(large(steps.Concat(parts=(0, 0), axis=3)))


def test_more_products_than_anyone_could_send_are_refused():
    tree = msgspec.msgpack.decode(SPECS.body)
    step = next(each for each in tree["steps"] if each["step"] == "MatMul")
    step["left"]["batch"] = 2**20
    with pytest.raises(BadPlan, match="1048576 products at once, more than 4096"):
        decode(msgspec.msgpack.encode(tree))


def test_products_at_once_divide_the_batch():
    tree = msgspec.msgpack.decode(SPECS.body)
    step = next(each for each in tree["steps"] if each["step"] == "MatMul")
    step["left"]["batch"] *= 2
    with pytest.raises(BadPlan, match="does not fit"):
        decode(msgspec.msgpack.encode(tree))


def test_a_plan_may_reveal_only_the_outputs_it_names():
    plan = tiny_plan()
    program = (*plan.steps, steps.Output(name="hidden", x=3))
    with pytest.raises(BadPlan, match="reveal other values"):
        decode(msgspec.structs.replace(plan, steps=program).body)


@pytest.mark.parametrize("guard", [None, 0, 24, 26, 400])
def test_a_plan_names_its_guard(guard):
    with pytest.raises(BadPlan, match="the guard among its steps"):
        decode(msgspec.structs.replace(tiny_plan(), guard=guard).body)


def test_what_left_its_limits_is_named_where_a_guard_locates():
    plan = tiny_plan()
    assert plan.left(np.zeros(1)) == ()
    assert plan.left(np.ones(1)) == (ANYWHERE,)
    step = msgspec.structs.replace(plan.steps[25], locate=True)
    located = msgspec.structs.replace(plan, steps=(*plan.steps[:25], step, *plan.steps[26:]))
    assert located.left(np.array([0.0, 1.0])) == ("/mul",)
    assert located.left(np.array([1.0, 0.0])) == ("/att/max",)


def test_versions_are_told_by_their_releases():
    assert release(VERSION) == f"ppc {ppc.__version__} (plan version {VERSION})"
    assert release(VERSION + 1) == f"a ppc newer than {ppc.__version__} (plan version {VERSION + 1})"
    newer = msgspec.msgpack.encode(msgspec.to_builtins(tiny_plan()) | {"version": VERSION + 1})
    with pytest.raises(BadPlan, match="update ppc, or compile it again"):
        decode(newer)


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


def test_weights_that_changed_on_the_disk_are_refused(tmp_path):
    """Zeros are integers of the right shape and size: nothing else tells them from what was compiled."""
    file, plan, weights = tmp_path / "w", tiny_plan(), tiny_weights()
    save_weights(weights, plan, file)
    whole = bytearray(file.read_bytes())
    whole[-4:] = bytes(4) if any(whole[-4:]) else b"\1\1\1\1"
    file.write_bytes(whole)
    with pytest.raises(BadPlan, match="w: damaged, its checksum does not match"):
        load_weights(file, plan)


def test_weights_of_a_plan_fit_no_other_that_they_are_renamed_to(tmp_path):
    """Two plans may want tensors of the same names and shapes: one is not served with the other's."""
    file, other = tmp_path / "w", tiny_plan("other")
    save_weights(tiny_weights(), tiny_plan(), file)
    file.write_bytes(file.read_bytes().replace(tiny_plan().hash.encode(), other.hash.encode()))
    with pytest.raises(BadPlan, match="its checksum does not match"):
        load_weights(file, other)


@pytest.mark.parametrize(
    "value", [np.array(-3), np.int64(-3), np.arange(6).reshape(2, 3).T], ids=["array", "number", "columns"]
)
def test_a_weight_of_any_layout_keeps_its_shape_on_the_disk(tmp_path, value):
    plan = msgspec.structs.replace(tiny_plan(), weights=(WeightSpec("w", value.shape, 9),))
    save_weights({"w": value}, plan, tmp_path / "w")
    again = load_weights(tmp_path / "w", plan)["w"]
    assert again.shape == value.shape
    assert np.array_equal(again, value)


def test_weights_of_a_type_that_numpy_does_not_have(tmp_path):
    """In a process of its own: the ONNX packages teach numpy more types."""
    save(tiny_plan(), tmp_path / "plan.bin")
    save_weights(tiny_weights(), tiny_plan(), tmp_path / "w")
    data = (tmp_path / "w").read_bytes().replace(b'"I16"', b'"BF16"', 1).replace(b"}} ", b"}}", 1)
    (tmp_path / "w").write_bytes(data)
    program = "import sys, pathlib; from ppc.runtime.plan.file import load, load_weights\n"
    program += "here = pathlib.Path(sys.argv[1]); load_weights(here / 'w', load(here / 'plan.bin'))"
    done = subprocess.run([sys.executable, "-c", program, tmp_path], capture_output=True, text=True)
    assert done.stderr.splitlines()[-1].startswith("ppc.runtime.base.errors.BadPlan: ")


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
