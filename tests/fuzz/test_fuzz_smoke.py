"""Both fuzzers for a few seconds; the long run is ``python tests/fuzz/fuzz_onnx.py --seconds 1800``."""

from __future__ import annotations

import random
import subprocess
import sys
from pathlib import Path

import fuzz_onnx
import fuzz_plan
import pytest
from campaign import Target, attempt, smoke

TARGETS = {"onnx": fuzz_onnx.TARGET, "plan": fuzz_plan.TARGET}


@pytest.mark.parametrize(("name", "executions"), [("onnx", 200), ("plan", 100)])
def test_damaged_inputs_are_refused_in_a_line(name: str, executions: int) -> None:
    assert not smoke(TARGETS[name], executions, seed=1)


@pytest.mark.parametrize("name", TARGETS)
def test_the_seeds_end_as_they_may(name: str) -> None:
    target = TARGETS[name]
    assert not [said for data in target.seeds()[5::40] if (said := attempt(target, data))]


def test_a_traceback_and_a_hang_are_findings(monkeypatch: pytest.MonkeyPatch) -> None:
    def run(data: bytes) -> None:
        if data:
            raise KeyError("x")
        while True:
            pass

    monkeypatch.setattr("campaign.SLOW", 0.05)
    target = Target(lambda: (b"",), lambda data, rng: data, run, lambda fault: isinstance(fault, ValueError))
    assert "KeyError" in (attempt(target, b"1") or "")
    assert "Slow" in (attempt(target, b"") or "")


def test_a_child_that_dies_leaves_its_input(tmp_path: Path) -> None:
    here = Path(__file__).parent
    program = tmp_path / "fuzz_dying.py"
    program.write_text(
        f"import os, sys; sys.path.insert(0, {str(here)!r})\n"
        "from campaign import Target, main\n"
        "die = lambda data: data == b'dying' and os.abort()\n"
        "main(Target(lambda: (b'ab',), lambda data, rng: b'dying', die, bool))\n"
    )
    out = tmp_path / "out"
    subprocess.run([sys.executable, program, "--seconds=3", f"--folder={out}"], check=True, timeout=60)
    kept = [each.read_bytes() for each in out.glob("findings/*/input")]
    assert kept
    assert set(kept) == {b"dying"}


def test_a_seed_gives_the_same_inputs() -> None:
    data = fuzz_onnx.seeds()[0]
    assert fuzz_onnx.mutate(data, random.Random(3)) == fuzz_onnx.mutate(data, random.Random(3))
