"""What a connection keeps from program to program."""

from __future__ import annotations

import numpy as np
import pytest
from states import HELD, keep, plan, public, recall

from ppc.runtime.base.errors import PeerMismatch
from ppc.runtime.base.ring import Fixed
from ppc.runtime.plan import steps
from ppc.runtime.session.cache import Cache

KEEP = steps.Keep(x=0, state="k", axis=0)
RECALL = steps.Recall(state="k", num=Fixed(20), shape=(4, 2), axis=0)


def rows(*values: int) -> np.ndarray:
    return np.array([[each, each] for each in values], np.uint64)


def test_rows_stand_one_behind_the_other():
    cache = Cache()
    assert cache.recalled(RECALL) == [None]
    cache.keep(KEEP, rows(1, 2))
    cache.keep(KEEP, rows(3))
    (found,) = cache.recalled(RECALL)
    assert found.tolist() == [[1, 1], [2, 2], [3, 3]]


def test_nothing_else_is_kept_and_nothing_while_pricing():
    cache = Cache()
    cache.keep(RECALL, rows(1))
    cache.keep(KEEP, None)
    assert cache.recalled(RECALL) == [None]


def test_the_simulators_samples_stand_in_front():
    cache = Cache(lead=1)
    for value in (1, 2):
        cache.keep(KEEP, np.full((3, 1, 2), value))
    assert cache.recalled(RECALL)[0].shape == (3, 2, 2)


def test_printing_it_shows_no_row():
    cache = Cache()
    cache.keep(KEEP, rows(123456))
    assert "123456" not in repr(cache)


def test_a_prompt_begins_anew_and_a_step_needs_room():
    prompt, step = plan(public((2, HELD)), keep(0)), plan(recall(), public(), keep(1))
    cache = Cache()
    for each in (prompt, step):
        cache.open(each)
        cache.close(each)
    assert cache.rows == HELD + 1
    with pytest.raises(PeerMismatch, match=f"{HELD} rows at most, and {HELD + 1}"):
        cache.open(step)
    cache.keep(KEEP, rows(1))
    cache.open(prompt)
    assert cache.rows == 0
    assert cache.recalled(RECALL) == [None]
