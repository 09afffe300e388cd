"""What a user expects of any command line: help, version, completion, near misses, one JSON document."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from command import called, ppc
from onnx import helper, numpy_helper
from onnx_models import model, tensor
from small import TOKENS
from text_model import TOKENS as WORDS
from text_model import text_model, word_tokenizer
from tokenizers import Tokenizer
from typer.main import get_command

import ppc as api
from models.tiny_bert import OUTPUTS, sample
from ppc.cli import app


@pytest.fixture(scope="module")
def place(small, tmp_path_factory) -> Path:
    made = tmp_path_factory.mktemp("conventions")
    shutil.copy(small.model, made / "m.onnx")
    small.compiled.save(made / "plan.bin", made / "plan.weights")
    np.savez(made / "in.npz", **sample(TOKENS, used=6))
    return made


def test_version_and_help():
    assert called("--version").out == f"ppc {api.__version__}\n"
    for words in (("-h",), ("compile", "-h"), ("run", "--help")):
        done = called(*words)
        assert done.status == 0
        assert "Usage" in done.out


def test_it_is_a_module_too():
    done = subprocess.run(
        [sys.executable, "-m", "ppc", "--version"], capture_output=True, text=True, timeout=60
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, f"ppc {api.__version__}\n", "")


def test_completion_knows_the_options():
    done = ppc(env={"_PYTHON _M PPC.CLI_COMPLETE": "complete_bash", "COMP_WORDS": "ppc compile --se",
                    "COMP_CWORD": "2"})  # fmt: skip
    assert done.out.split() == ["--seq-len"]


def test_every_option_has_a_long_form():
    commands = get_command(app).commands
    assert len(commands) > 8
    for name, command in commands.items():
        for each in command.params:
            if each.param_type_name == "option":
                assert any(len(opt) > 3 and opt.startswith("--") for opt in each.opts), (name, each.opts)


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("compile", "m.onnx", "--seqlen", 3), "--seq-len"),
        (
            ("compile", "m.onnx", "--length", 3),
            "the prompt's length in tokens is --seq-len",
        ),
        (("run", "p", "--host", "x"), "an address is HOST:PORT, of --listen or --connect"),
        (
            ("run", "p", "--role", "both"),
            "Invalid value for '--role': 'both' is not one of 'server', 'client'",
        ),
        (("compil", "m.onnx"), "Did you mean 'compile'"),
    ],
)
def test_near_misses_are_explained(words, says):
    called(*words).failed(2, says)


def test_the_prompts_length_under_another_name(place):
    for words in (("--dim", "seq=8"), ()):
        called("check", place / "m.onnx", *words).failed(2, "sequence.*--seq-len")


@pytest.mark.parametrize(
    ("words", "status", "kind"),
    [
        (("inspect", "none.bin"), 2, "BadInput"),
        (("compile", "none.onnx", "-o", "x"), 2, "NotOnnx"),
        (("compile",), 2, "MissingParameter"),
        (("simulate", "m.onnx", "--input", "in.npz"), 4, "BadPlan"),
    ],
)
def test_with_json_a_fault_is_the_one_document(place, monkeypatch, words, status, kind):
    monkeypatch.chdir(place)
    done = called(*words, "--json")
    assert done.status == status
    fault = json.loads(done.out)["error"]
    assert (fault["status"], fault["kind"]) == (status, kind)
    assert done.err.splitlines()[-1] == f"ppc: {fault['message'].splitlines()[-1]}"
    assert called(*words).out == ""


def test_a_fault_after_the_document_adds_none(place, monkeypatch):
    """The texts that left their rings are in the report."""

    def printed(*args, **options):
        from ppc.cli_results import print_json
        from ppc.runtime.base.errors import RangeFault

        print_json({"report": 1})
        raise RangeFault("left")

    monkeypatch.setattr("ppc.backend.check.check_model", printed)
    done = called("check", place / "m.onnx", "--json")
    assert (done.status, done.json) == (6, {"report": 1})


def test_check_at_several_lengths(place):
    done = called("check", place / "m.onnx", "--seq-len", "4,8")
    assert done.status == 0, done.err
    at = [line for line in done.out.splitlines() if "tokens:" in line or "outputs:" in line]
    assert at == [
        "at 8 tokens:", f"  outputs: {OUTPUTS[0]} (1, 8, 16), {OUTPUTS[1]} (1, 16)",
        "at 4 tokens:", f"  outputs: {OUTPUTS[0]} (1, 4, 16), {OUTPUTS[1]} (1, 16)",
    ]  # fmt: skip
    assert done.out.count("operator") == 1  # the same at both
    parts = called("check", place / "m.onnx", "--seq-len", "4,8", "--json").json["lengths"]
    shapes = [(part["seq_len"], part["outputs"][0]["shape"]) for part in parts]
    assert shapes == [(n, [1, n, 16]) for n in (8, 4)]


def test_a_profile_that_is_none_is_refused_before_the_model_is_read(place, monkeypatch):
    monkeypatch.setattr("ppc.backend.compile.load_told", None)
    monkeypatch.setattr("ppc.backend.compile.load", None)
    for words in (("-o", place / "x.bin"), ("--emit-onnx", place / "x.onnx")):
        called("compile", place / "m.onnx", *words, "--profile", "quick").failed(2, "no profile 'quick'")


def test_samples_of_calibration_with_the_axis_of_the_batch_or_without(place, tmp_path):
    """Which gives the same bytes."""
    given = [sample(TOKENS, used=used, seed=used) for used in (3, 6, 8)]
    stacked = {name: np.stack([each[name] for each in given]) for name in given[0]}
    plans = []
    for kind, axis in (("with", stacked), ("without", {name: x[:, 0] for name, x in stacked.items()})):
        np.savez(tmp_path / "s.npz", **axis)
        words = ("compile", place / "m.onnx", "-o", tmp_path / kind, "--seq-len", TOKENS)
        done = called(*words, "--calibrate", tmp_path / "s.npz")
        assert done.status == 0, done.err
        plans.append((tmp_path / kind).read_bytes())
    assert plans[0] == plans[1]


@pytest.fixture(scope="module")
def texts(tmp_path_factory) -> Path:
    made = tmp_path_factory.mktemp("texts")
    text_model(made / "m.onnx")
    api.compile(made / "m.onnx", seq_len=WORDS).save(made / "plan.bin", made / "plan.weights")
    word_tokenizer(made / "tokenizer.json")
    return made


def test_a_tokenizer_by_its_folder_and_by_its_name_on_the_hub(texts, monkeypatch):
    words = ("simulate", texts / "plan.bin", "--text", "w3 w1", "--json", "--tokenizer")
    by_file = called(*words, texts / "tokenizer.json").json["outputs"]
    assert called(*words, texts).json["outputs"] == by_file
    asked = []

    def hub(name):
        asked.append(name)
        return Tokenizer.from_file(str(texts / "tokenizer.json"))

    monkeypatch.setattr("tokenizers.Tokenizer", type("Hub", (), {"from_pretrained": staticmethod(hub)}))
    assert called(*words, "someone/some-model").json["outputs"] == by_file
    assert asked == ["someone/some-model"]


def test_a_tokenizer_that_is_nowhere(texts, monkeypatch):
    def hub(name):
        raise OSError("the hub is not reached")

    words = ("simulate", texts / "plan.bin", "--text", "w1", "--tokenizer")
    called(*words, texts / "no.json").failed(2, "no.json")
    monkeypatch.setattr("tokenizers.Tokenizer", type("Hub", (), {"from_pretrained": staticmethod(hub)}))
    called(*words, "some/model").failed(
        2, "some/model: no such file, and the Hugging Face hub gives no tokenizer: the hub is not reached"
    )


def test_one_array_is_the_only_input(place, tmp_path):
    """Of calibration and of a prompt."""
    w = tensor("w", np.linspace(-1, 1, 12, dtype=np.float32).reshape(4, 3))
    rows = np.random.default_rng(1).normal(size=(9, 1, 4)).astype(np.float32)
    onnx.save(
        model([helper.make_node("MatMul", ["x", "w"], ["y"])], {"x": rows[0]}, ["y"], [w]), tmp_path / "m"
    )
    np.save(tmp_path / "rows.npy", rows)
    np.save(tmp_path / "row.npy", rows[0])
    done = called("compile", tmp_path / "m", "-o", tmp_path / "p.bin", "--calibrate", tmp_path / "rows.npy")
    assert done.status == 0, done.err
    words = ("simulate", tmp_path / "p.bin", "--json", "--input")
    found = np.array(called(*words, tmp_path / "row.npy").json["outputs"]["y"])
    assert np.abs(found - rows[0] @ numpy_helper.to_array(w)).max() < 0.01
    assert np.shape(called(*words, tmp_path / "rows.npy").json["outputs"]["y"]) == (9, 1, 3)
    many = called("simulate", place / "plan.bin", "--input", tmp_path / "row.npy")
    many.failed(2, "row.npy: one array, and the inputs are input_ids, attention_mask")
