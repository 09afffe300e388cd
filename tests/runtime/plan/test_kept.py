"""Which values are the rows of a state: those alone may keep a mask from program to program."""

from __future__ import annotations

import msgspec
import pytest
from states import HELD, keep, plan, public, recall

from ppc.runtime.base.errors import BadPlan
from ppc.runtime.base.ring import Fixed
from ppc.runtime.plan import steps
from ppc.runtime.plan.file import decode
from ppc.runtime.plan.kept import rows_axis

KEPT = (recall(), public(), keep(1))
NARROW = Fixed(15, 4)


def joined(*parts: int, axis: int = 1) -> steps.Concat:
    return steps.Concat(parts=parts, axis=axis)


def axis(*program: steps.AnyStep) -> int | None:
    made = plan(*program)
    return rows_axis(made.steps, made.forms, len(program) - 1)


def test_rows_and_the_new_one_behind_them():
    assert axis(*KEPT, joined(0, 1)) == 1


@pytest.mark.parametrize(
    ("move", "where"),
    [
        (steps.Transpose(x=3, order=(1, 0)), 0),
        (steps.Reshape(x=3, shape=(1, 2, 1, HELD + 1)), 3),
        (steps.Reshape(x=3, shape=(2, HELD + 1, 1)), 1),
        (steps.TimesInteger(x=3, factor=3), 1),
        (steps.Rescale(x=3, num=NARROW), 1),
    ],
)
def test_what_does_the_same_to_every_row_each_time(move, where):
    assert axis(*KEPT, joined(0, 1), move) == where


def test_low_bits_of_what_is_kept():
    low = [steps.Rescale(x=x, num=NARROW) for x in (0, 1)]
    assert axis(*KEPT, *low, joined(3, 4)) == 1


@pytest.mark.parametrize(
    "program",
    [
        (*KEPT, joined(1, 0)),  # the new row in front
        (*KEPT, joined(0, 1, 1)),
        (*KEPT, public(), joined(0, 3)),  # a row that is not the one kept
        (recall(), public((2, 2)), keep(1), joined(0, 1)),  # two rows
        (recall(), public(), keep(1, "v"), recall("v"), keep(1, "k"), public(), joined(0, 5)),
        (*KEPT, public((2, HELD)), joined(3, 1)),  # rows of no state
        (*KEPT, steps.Concat(parts=(0, 0), axis=0)),
        (*KEPT, joined(0, 1), steps.Reshape(x=3, shape=(HELD + 1, 2))),  # rows cut across
        (*KEPT, joined(0, 1), steps.Reshape(x=3, shape=(2 * HELD + 2,))),
        (*KEPT, joined(0, 1), steps.Rescale(x=3, num=Fixed(20, 3))),  # rounds, each time anew
        (*KEPT, joined(0, 1), steps.Square(x=3)),
        (*KEPT, joined(0, 1), steps.Slice(x=3, cuts=((0, 1, 1), (0, HELD + 1, 1)))),
        KEPT[:1],
    ],
)
def test_anything_else_is_not(program):
    assert axis(*program) is None


def products(decoder):
    """The plan's last program, and where it multiplies by rows that are kept."""
    step = decoder.compiled.plan
    return step, [i for i, each in enumerate(step.steps) if isinstance(each, steps.MatMul)]


@pytest.mark.long
def test_keys_and_values_of_a_decoder_are_masked_once(decoder):
    step, at = products(decoder)
    assert [step.steps[i].kept for i in at] == ["n", "k"] * 2
    assert {step.steps[i].together for i in at} == {step.options.together} == {8}
    for prompt in step.shorter:
        assert {each.kept for each in prompt.steps if isinstance(each, steps.MatMul)} == {None}


@pytest.mark.long
def test_a_plan_that_would_mask_once_what_changes_is_refused(decoder):
    """Its mask would meet two values, of which the peer would learn the difference."""
    step, _ = products(decoder)
    at = next(i for i, each in enumerate(step.steps) if isinstance(each, steps.Keep))
    program, kept = list(step.steps), step.steps[at].x
    other = next(i for i, form in enumerate(step.forms[:at]) if form == step.forms[kept] and i != kept)
    program[at] = msgspec.structs.replace(program[at], x=other)
    with pytest.raises(BadPlan, match="would mask once what is not kept as it is"):
        decode(msgspec.structs.replace(step, steps=tuple(program)).body)


@pytest.mark.long
def test_a_plan_whose_steps_are_made_for_others_together_is_refused(decoder):
    step, _ = products(decoder)
    options = msgspec.structs.replace(step.options, together=4)
    with pytest.raises(BadPlan, match="not made for 4 inferences together"):
        decode(msgspec.structs.replace(step, options=options).body)
