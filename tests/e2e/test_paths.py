"""Results go exactly where they are asked to, and a place that takes none is refused before any work."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from command import called, serving
from small import TOKENS

from models.tiny_bert import OUTPUTS, sample

CLIENT = ("--role", "client", "--input", "one.npz")


@pytest.fixture(scope="module")
def place(small, tmp_path_factory) -> Path:
    made = tmp_path_factory.mktemp("paths")
    shutil.copy(small.model, made / "m.onnx")
    small.compiled.save(made / "plan.bin", made / "plan.weights")
    one = sample(TOKENS, used=6)
    np.savez(made / "one.npz", **one)
    np.savez(made / "two.npz", **{name: np.stack([x, x]) for name, x in one.items()})
    return made


def simulated(place: Path, given: str, *words: object):
    return called("simulate", place / "plan.bin", "--input", place / given, *words)


def test_outputs_on_standard_output_are_all_that_is_there(place):
    done = simulated(place, "two.npz", "-o", "-")
    assert done.status == 0, done.err
    assert set(done.json) == set(OUTPUTS)
    assert np.shape(done.json[OUTPUTS[1]])[0] == 2
    assert "nearest to their rings" in done.err


def test_a_document_a_line_of_each_sample(place, tmp_path):
    for given, count in (("one.npz", 1), ("two.npz", 2)):
        assert simulated(place, given, "-o", tmp_path / "o.jsonl").status == 0
        rows = [json.loads(line) for line in (tmp_path / "o.jsonl").read_text().splitlines()]
        assert len(rows) == count
        whole = simulated(place, given, "-o", tmp_path / "o.json", "--json").json["outputs"]
        assert rows[-1] == ({name: x[-1] for name, x in whole.items()} if count > 1 else whole)


@pytest.mark.parametrize("name", ["a.b.npz", "a.npz.json"])
def test_the_name_is_the_one_that_was_given(place, tmp_path, name):
    assert simulated(place, "one.npz", "-o", tmp_path / name).status == 0
    assert os.listdir(tmp_path) == [name]


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("simulate", "plan.bin", "--input", "one.npz", "-o", "/proc/o.npz"), "/proc/o.npz: cannot be"),
        (("simulate", "plan.bin", "--input", "one.npz", "-o", "-", "--json"), "--out and --json each write"),
        (("run", "plan.bin", *CLIENT, "-o", "-", "--report", "-"), "--out and --report each write to stand"),
        (("run", "plan.bin", *CLIENT, "--report", "/proc/r.json"), "/proc/r.json: cannot be written"),
        (("run", "plan.bin", *CLIENT, "-o", "x.json", "--report", "x.json"), "both x.json"),
        (("inspect", "plan.bin", "--html", "/proc/p.html"), "/proc/p.html: cannot be written"),
        (("compile", "m.onnx", "-o", "."), ".: a folder stands where a file is to be written"),
        (("compile", "m.onnx", "-o", "-"), "--out wants a file, and - is standard output"),
        (("compile", "m.onnx", "-o", "/proc/p.bin"), "/proc/p.bin: cannot be written"),
        (("compile", "m.onnx", "-o", "new.bin", "--weights", "/proc/w"), "/proc/w: cannot be written"),
    ],
)
def test_a_place_that_takes_nothing_is_refused_first(place, monkeypatch, words, says):
    monkeypatch.chdir(place)
    for work in ("ppc.backend.compile.compile_model", "ppc.runtime.plan.file.load_weights"):
        monkeypatch.setattr(work, None)
    monkeypatch.setattr("ppc.load_plan", None)
    called(*words).failed(2, says)


def test_two_plans_have_weights_of_their_own(place, tmp_path):
    compiled = ("compile", place / "m.onnx", "--seq-len", TOKENS, "-o")
    for name, output in zip(("p.s8", "p.s16"), OUTPUTS, strict=True):
        assert called(*compiled, tmp_path / name, "--output", output).status == 0
    assert sorted(os.listdir(tmp_path)) == ["p.s16", "p.s16.weights", "p.s8", "p.s8.weights"]
    assert called("simulate", tmp_path / "p.s8", "--input", place / "one.npz").status == 0
    called(*compiled, tmp_path / "p.s8.bin").failed(
        2, "the weights of .*p.s8, which .*p.s8.bin would overwrite"
    )
    done = called(*compiled, tmp_path / "p.s8.bin", "--weights", tmp_path / "w", "--json")
    assert done.json["weights_file"] == str(tmp_path / "w")
    again = called(*compiled, tmp_path / "p.s8")  # its own
    assert again.status == 0, again.err


def test_a_run_writes_a_line_a_sample(place, tmp_path):
    with serving(place / "plan.bin") as (_, address):
        done = called(
            "run", place / "plan.bin", "--role", "client", "--connect", address, "--input", place / "two.npz",
            "-o", "-", "--report", tmp_path / "r.json",
        )  # fmt: skip
    assert done.status == 0, done.err
    assert np.shape(done.json[OUTPUTS[1]])[0] == 2
    assert os.listdir(tmp_path) == ["r.json"]
