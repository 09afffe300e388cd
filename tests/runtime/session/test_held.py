"""Material beyond a bound comes back, once; what lies on disk meanwhile has no name and says nothing."""

from __future__ import annotations

import os
from typing import Any

import numpy as np
import pytest

from ppc.runtime.base.errors import BadInput
from ppc.runtime.protocols.multiply import SquareMade
from ppc.runtime.session import held
from ppc.runtime.session.held import Held

R = np.arange(600, dtype=np.uint64).reshape(2, 300) << np.uint64(17)
STEPS: list[Any] = [None, SquareMade(R, R + np.uint64(1)), [SquareMade(R, R)], SquareMade(R, R)]
BYTES = 2 * R.nbytes


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    return tmp_path


def filled(memory: float) -> Held:
    made = Held(memory)
    for each in STEPS:
        made.put(each)
    return made


def same(a: Any, b: Any) -> bool:
    if isinstance(b, list):
        return isinstance(a, list) and len(a) == len(b) and all(map(same, a, b))
    return a is b or (type(a) is type(b) and np.array_equal(a.r, b.r) and np.array_equal(a.rr, b.rr))


def on_disk(made: Held) -> bytes:
    assert made._file is not None
    made._file.seek(0)
    return made._file.read()


@pytest.mark.parametrize("memory", [0, BYTES - 1, BYTES, 2 * BYTES + 5, np.inf])
def test_all_comes_back_once(memory):
    made = filled(memory)
    assert len(made) == len(STEPS)
    assert same(list(made), STEPS)
    for i in (2, 0, 3, 1):
        assert same(made.take(i), STEPS[i])
        assert made.take(i) is None


@pytest.mark.parametrize(("memory", "written"), [(0, 3), (BYTES, 2), (2 * BYTES, 1), (3 * BYTES, 0)])
def test_what_is_beyond_the_bound_is_on_disk_and_nothing_else(memory, written):
    made = filled(memory)
    kept = sum(each is STEPS[i] for i, each in enumerate(made._steps))
    assert len(STEPS) - kept == written
    assert (made._file is None) == (written == 0)


def test_a_small_step_after_a_large_one_goes_to_disk_too():
    """The bound is met in order: what is taken first is in memory."""
    made = Held(BYTES)
    for each in (STEPS[2] * 2, STEPS[1]):
        made.put(each)
    assert made._steps[1] is not STEPS[1]


def test_the_file_has_no_name(folder):
    made = filled(0)
    assert made._file is not None
    assert os.fstat(made._file.fileno()).st_nlink == 0
    assert not list(folder.iterdir())


def test_the_file_says_nothing(monkeypatch):
    plain, made = bytes(next(iter(held.packed(R)))), filled(0)
    found = on_disk(made)
    assert plain not in found
    assert found != on_disk(filled(0))  # a key of its own
    one, two = made._steps[2].at, made._steps[3].at  # equal steps are no equal bytes
    assert found[one:two] != found[two : two + (two - one)]
    monkeypatch.setattr(Held, "_cipher", lambda self, at: type("No", (), {"update": staticmethod(bytes)}))
    assert plain in on_disk(filled(0))


def test_a_disk_that_takes_nothing_is_told(monkeypatch):
    monkeypatch.setenv("TMPDIR", "/nowhere")
    with pytest.raises(BadInput, match=r"beyond --memory cannot be written: .*nowhere"):
        filled(0)


def test_printing_it_shows_nothing():
    assert repr(filled(0)) == f"Held({len(STEPS)} steps, <secret>)"
