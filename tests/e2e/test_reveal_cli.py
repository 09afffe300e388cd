"""What the client learns of an output: its numbers, or only where the largest of them stands."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import pytest
from command import called, serving
from onnx import TensorProto, helper, numpy_helper

import ppc
from ppc.frontend.read import run

LABELS = ("sad", "glad", "mad")
TOKENS, VOCABULARY = 4, 21
IDS = [[3, 20, 0, 7]]


def two_heads(path: Path) -> None:
    """Next tokens of each place, and a label of their mean."""
    rng = np.random.default_rng(4)
    tables = {"table": (VOCABULARY, 8), "back": (8, VOCABULARY), "head": (8, len(LABELS))}
    nodes = [
        helper.make_node("Gather", ["table", "ids"], ["x"]),
        helper.make_node("MatMul", ["x", "back"], ["tokens"]),
        helper.make_node("ReduceMean", ["x"], ["mean"], axes=[1], keepdims=0),
        helper.make_node("MatMul", ["mean", "head"], ["logits"]),
    ]
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("ids", TensorProto.INT64, [1, TOKENS])],
        [onnx.ValueInfoProto(name=name) for name in ("tokens", "logits", "mean")],
        [numpy_helper.from_array(rng.normal(size=s).astype(np.float32), n) for n, s in tables.items()],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> Path:
    made = tmp_path_factory.mktemp("reveal")
    two_heads(made / "m.onnx")
    (made / "labels.txt").write_text("\n".join(LABELS))
    (made / "in.json").write_text(json.dumps({"ids": IDS}))
    said = called(
        "compile", made / "m.onnx", "-o", made / "plan.bin", "--output", "tokens", "--output", "logits",
        "--reveal", "argmax",
    )  # fmt: skip
    assert said.status == 0, said.err
    return made


def expected(place: Path) -> dict[str, np.ndarray]:
    return {name: value.argmax(axis=-1) for name, value in run.run(place / "m.onnx", {"ids": IDS}).items()}


def test_two_parties_tell_the_label_and_the_tokens_and_no_number(place, tmp_path):
    with serving(place / "plan.bin") as (_, address):
        args = ("run", place / "plan.bin", "--role", "client", "--connect", address, "--labels",
                place / "labels.txt", "--input", place / "in.json")  # fmt: skip
        done = called(*args, "-o", tmp_path / "out.npz", "--report", tmp_path / "r.json", "--json")
        people = called(*args)
    assert done.status == people.status == 0, done.err
    wanted = expected(place)
    assert done.json["outputs"] == {name: wanted[name].tolist() for name in ("tokens", "logits")}
    label = LABELS[wanted["logits"][0]]
    assert done.json["labels"] == {"logits": [{"at": [0], "labels": [{"label": label}]}]}
    assert f"logits[0]: {label}\n" in people.out
    with np.load(tmp_path / "out.npz") as written:
        assert {name: written[name].dtype.kind for name in written.files} == {"tokens": "i", "logits": "i"}
    report = json.loads((tmp_path / "r.json").read_text())
    assert report["online"]["received"] == report["predicted"]["online"]["received"]


def test_the_simulator_tells_the_same_and_how_often_it_agrees(place):
    args = ("simulate", place / "plan.bin", "--input", place / "in.json", "--against", place / "m.onnx")
    done = called(*args, "--json")
    wanted = expected(place)
    assert done.json["outputs"] == {name: wanted[name].tolist() for name in ("tokens", "logits")}
    assert done.json["agreement"] == [
        {"name": "tokens", "compared": TOKENS, "same": TOKENS},
        {"name": "logits", "compared": 1, "same": 1},
    ]
    assert not [each for each in done.json["headroom"] if each["when"] == "as a result"]
    assert {"tokens", "logits"} <= {row["name"] for row in done.json["errors"]}
    assert f"{TOKENS} of {TOKENS} places as in {place / 'm.onnx'}  tokens" in called(*args).out


def test_inspect_says_that_the_client_learns_no_number(place):
    text = called("inspect", place / "plan.bin").out
    assert f"output tokens [1, {TOKENS}]: which of {VOCABULARY} is the largest, and no number" in text
    told = called("inspect", place / "plan.bin", "--json").json["outputs"]
    assert [each["choices"] for each in told] == [VOCABULARY, len(LABELS)]


def test_one_output_of_several(place, tmp_path):
    said = called(
        "compile", place / "m.onnx", "-o", tmp_path / "p.bin", "--reveal", "logits=argmax", "--reveal",
        "tokens=value",
    )  # fmt: skip
    assert said.status == 0, said.err
    plan = ppc.load_plan(tmp_path / "p.bin")
    assert {out.name: plan.choices(out) for out in plan.outputs} == {
        "tokens": None, "logits": len(LABELS), "mean": None,
    }  # fmt: skip
    assert [out.shape for out in plan.outputs] == [(1, TOKENS, VOCABULARY), (1,), (1, 8)]


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (("--reveal", "label"), "value or argmax, not 'label'"),
        (("--reveal", "argmax", "--reveal", "value"), "--reveal is given once for all outputs"),
        (("--reveal", "argmax", "--reveal", "tokens=value"), "--reveal is given once for all outputs"),
        (("--reveal", "logits=argmax", "--reveal", "logits=value"), "'logits' more than once"),
        (("--reveal", "scores=argmax"), "no output 'scores' to reveal; there are tokens, logits, mean"),
        (("--output", "logits", "--reveal", "tokens=argmax"), "there are logits"),
    ],
)
def test_refused(place, tmp_path, args, words):
    said = called("compile", place / "m.onnx", "-o", tmp_path / "p.bin", *args)
    assert said.status == 2
    assert words in said.err


def test_labels_of_another_number_are_refused(place, tmp_path):
    (tmp_path / "four.txt").write_text("a\nb\nc\nd")
    args = ("simulate", place / "plan.bin", "--input", place / "in.json", "--labels", tmp_path / "four.txt")
    said = called(*args)
    assert said.status == 2
    assert "tokens of 21 labels, logits of 3 labels" in said.err
