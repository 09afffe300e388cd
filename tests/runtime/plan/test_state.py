"""States: what a plan reads and keeps of them, and how rows are filled in."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest
from states import HELD, F, keep, plan, public, recall

from ppc.runtime.base.errors import BadPlan
from ppc.runtime.base.ring import Fixed
from ppc.runtime.party.party import Party
from ppc.runtime.plan import steps
from ppc.runtime.plan.file import decode
from ppc.runtime.plan.state import States


def test_what_is_read_and_kept_is_told_with_its_kind():
    made = plan(recall(), public(), keep(1)).states
    assert (made.held, made.added) == (HELD, 1)
    assert made.kinds == {"k": (F, 1, (2,))}


def test_a_plan_without_states_has_no_rows():
    made = plan(public((2, HELD))).states
    assert made == States({}, 0, 0)


@pytest.mark.parametrize(
    ("program", "why"),
    [
        ((recall(), recall(), public(), keep(2)), "twice read"),
        ((recall(), public(), keep(1), keep(1)), "twice kept"),
        ((recall(), public(num=Fixed(21, 4)), keep(1)), "read as another"),
        ((recall(), public((1, 1)), keep(1)), "read as another"),
        ((recall(), public(), keep(1, axis=0)), "read as another"),
        ((recall(), public(), keep(1, "v")), "keeps"),
        ((recall(), recall("v", (2, 4)), public(), keep(2), keep(2, "v")), "rows"),
        ((public((2, HELD)), keep(0), recall()), "after it is kept"),
    ],
)
def test_steps_that_disagree_are_refused(program, why):
    with pytest.raises(BadPlan, match=why):
        decode(plan(*program).body)


def test_rows_along_an_axis_that_is_not_there_are_refused():
    for step in (recall(axis=2), recall(axis=-1)):
        with pytest.raises(ValueError, match="axis"):
            step.infer()
    with pytest.raises(ValueError, match="axis"):
        keep(0, axis=2).infer(steps.Form(F, (2, 1)))


def test_lengths_that_carry_different_states_are_refused():
    short = plan(public((2, HELD)), keep(0))
    whole = plan(recall(num=Fixed(21, 4)), public(num=Fixed(21, 4)), keep(1), shorter=(short,))
    with pytest.raises(BadPlan, match="carry different states"):
        decode(whole.body)
    assert decode(msgspec.structs.replace(whole, shorter=()).body)


def test_what_is_not_kept_yet_is_zero():
    step = recall()
    rows = np.array([[[1], [2]]], np.int64)
    assert step.clear(rows).tolist() == [[[1, 0, 0], [2, 0, 0]]]
    assert step.clear(None).tolist() == [[[0, 0, 0], [0, 0, 0]]]
    assert step.online(Party(None), steps.Form(F, step.shape), None, None).data is None
