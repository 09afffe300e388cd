"""Native code that crashes or never ends takes no more with it than a process of its own."""

from __future__ import annotations

import time

import numpy as np
import pytest
from onnx_models import one_node

from ppc.frontend.errors import UnsupportedModel
from ppc.frontend.read import sandbox
from ppc.frontend.read.load import load
from ppc.frontend.read.sandbox import evaluate, infer

pytestmark = pytest.mark.long

X = np.ones((2, 3), np.float32)
SOUND = one_node("Neg", {"x": X})
CRASHING = one_node("Split", {"x": X}, num_outputs=2, outputs=3, opset=18)
"""Its shape inference, in onnx 1.23, writes beyond an array of two."""
ENDLESS = one_node("Einsum", {"x": X}, equation="...ij%")


def negated() -> np.ndarray:
    found = evaluate(SOUND.SerializeToString(), {"x": X}, 100)
    assert isinstance(found, list)
    return found[0]


def test_a_crash_is_no_answer_and_the_next_question_has_one() -> None:
    infer(CRASHING.SerializeToString())
    assert infer(SOUND.SerializeToString()) is not None
    np.testing.assert_array_equal(negated(), -X)


def test_a_death_between_two_questions_is_not_noticed() -> None:
    infer(SOUND.SerializeToString())
    process = sandbox._WORKER._process
    assert process is not None
    process.kill()
    process.wait()
    np.testing.assert_array_equal(negated(), -X)


def test_what_never_ends_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sandbox, "SECONDS", 2)
    monkeypatch.setattr(sandbox, "_WORKER", sandbox._Worker())
    begun = time.monotonic()
    infer(ENDLESS.SerializeToString())
    assert time.monotonic() - begun < 20
    np.testing.assert_array_equal(negated(), -X)
    sandbox._WORKER.end()


def test_an_answer_nobody_waited_for_is_not_the_next_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    def stop(stream: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(sandbox, "receive", stop)
        with pytest.raises(KeyboardInterrupt):
            infer(SOUND.SerializeToString())
    np.testing.assert_array_equal(negated(), -X)


def test_what_is_too_large_is_not_made() -> None:
    wide = one_node("Expand", {"x": X[0, :1], "shape": np.array([2**40])})
    feeds = {"x": X[0, :1], "shape": np.array([2**40])}
    assert evaluate(wide.SerializeToString(), feeds, 100) == 2**40


@pytest.mark.parametrize("known", [False, True])
def test_a_model_that_crashes_native_code_is_refused(known: bool) -> None:
    feeds, constants = ({}, [X]) if known else ({"x": X}, [])
    proto = one_node("Split", feeds, constants, num_outputs=2, outputs=3, opset=18)
    with pytest.raises(UnsupportedModel, match="3 outputs, and says that they are 2"):
        load(proto)


def test_a_damaged_message_is_no_answer() -> None:
    assert infer(b"junk") is None
    assert evaluate(b"junk", {}, 100) is None
