"""`ppc tune`: a tiny model from texts to a friendly one, again after an interruption, and what goes wrong."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path

import numpy as np
import onnx
import pytest

pytest.importorskip("torch")

from command import Done, Running, called
from text_model import text_model, word_tokenizer
from tunable import TOKENS, folder, table

import ppc
from models.tiny_bert import Shape, tiny_bert
from ppc import passes
from ppc.frontend.ir.graph import walk
from ppc.frontend.ir.ops import Relu
from ppc.frontend.read.load import load

QUICK = ("--steps", 12, "--rate", "5e-3", "--seed", 3)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return folder(tmp_path_factory.mktemp("tune"))


def asked(
    place: Path, *args: object, data: str = "train.tsv", valid: str = "dev.tsv", tokens: int = TOKENS
) -> list[object]:
    files = ["tune", place / "m.onnx", "--data", place / data, "--valid", place / valid]
    tokenizer = [] if "--tokenizer" in args else ["--tokenizer", place / "tokenizer.json"]
    output = [] if "-o" in args else ["-o", place / "friendly.onnx"]
    return [*files, *tokenizer, *output, "--seq-len", tokens, *args]


def tuned(
    place: Path, *args: object, data: str = "train.tsv", valid: str = "dev.tsv", tokens: int = TOKENS
) -> Done:
    return called(*asked(place, *args, data=data, valid=valid, tokens=tokens))


@pytest.fixture(scope="module")
def done(place: Path) -> Done:
    (place / "work").mkdir()
    options = ("--budget", 100, "--work", place / "work", "--json", "--report", place / "tuned.html")
    return tuned(place, *QUICK, *options)


def test_a_document(done: Done, place: Path) -> None:
    assert done.status == 0, done.err
    found = done.json
    assert found["rows"] == {"train": 140, "rate": 20, "decide": 40, "valid": 60}
    assert set(found["final"]) == {"teacher", "untuned", "tuned", "control"}
    assert found["final"]["teacher"]["agreement"]["value"] == 1
    assert found["final"]["tuned"]["accuracy"]["low"] < found["final"]["tuned"]["accuracy"]["value"]
    assert {each["decision"] for each in found["decisions"]} == {"replaced"}
    assert all(each["bytes_saved"] > 0 for each in found["decisions"])
    assert found["prices"]["tuned"]["bytes"] < found["prices"]["teacher"]["bytes"]
    assert found["steps"] == [12]
    assert found["met"]


def test_the_file_compiles_as_it_is_at_the_price_that_was_told(done: Done, place: Path) -> None:
    graph = load(place / "friendly.onnx")
    assert not [op for op in walk(graph) if type(op).__name__ in ("Softmax", "LayerNorm", "Gelu")]
    options = passes.Options(profile="friendly")
    assert passes.run(graph, options, stop_after="apply_profile").applied == ()
    compiled = ppc.compile(place / "friendly.onnx")
    assert compiled.plan.outputs[0].name == "logits"


def test_the_journal_tells_every_decision(done: Done, place: Path) -> None:
    lines = [json.loads(line) for line in (place / "work" / "journal.jsonl").read_text().splitlines()]
    assert [each["event"] for each in lines] == ["rung"] * 4 + ["tuned"] + ["decision"] * 4
    assert {"layer", "operator", "bytes_saved", "seconds_saved", "points_alone", "kept"} <= lines[0].keys()
    assert {"before", "after", "bytes", "seconds", "rungs", "taken"} <= lines[4].keys()
    assert {"layer", "operator", "score_before", "score_after", "decision", "left"} <= lines[-1].keys()


def test_a_page(done: Done, place: Path) -> None:
    page = (place / "tuned.html").read_text()
    assert "<svg" in page
    assert page.count("<circle") == 2
    assert "http" not in page.replace("http-equiv", "")
    assert "<script" not in page


def test_units_step_from_rung_to_rung(place: Path) -> None:
    """Of several variants each unit begins on the cheapest, and the file has those that it ended on."""
    (place / "menu").mkdir()
    options = ("--profile", "menu", "--budget", 4, "--work", place / "menu", "-o", place / "menu.onnx")
    done = tuned(place, *QUICK, *options, "--json")
    assert done.status == 0, done.err
    assert done.json["met"]
    lines = [json.loads(line) for line in (place / "menu" / "journal.jsonl").read_text().splitlines()]
    rungs = [each for each in lines if each["event"] == "rung"]
    assert [each["variant"] for each in rungs] == [
        "affine", "centred_affine", "relu_mean", "relu_sum", "affine", "centred_affine", "relu",
    ]  # fmt: skip
    assert rungs[2]["bytes_saved"] > rungs[3]["bytes_saved"] > 0
    rounds = [each for each in lines if each["event"] == "tuned"]
    assert [each["rungs"] for each in rounds] == [each["rungs"] for each in done.json["rounds"]]
    kept = {(f"{each['operator']} of {each['layer']}", each["variant"]) for each in rungs if each["kept"]}
    assert set(rounds[0]["rungs"].items()) <= kept
    ended = {
        f"{each['operator']} of {each['layer']}": each["variant"]
        for each in done.json["decisions"]
        if each["decision"] == "replaced"
    }
    assert ended == rounds[-1]["rungs"]


def test_tokens_are_left_out(place: Path) -> None:
    """The student, and the file, answer from every second token; a rung's loss is beside what that takes."""
    (place / "half.toml").write_text('base = "friendly"\n[[eliminate]]\nlayers = "layer.0.*"\n')
    written = ("--report", place / "half.md", "-o", place / "half.onnx")
    done = tuned(place, *QUICK, "--profile", place / "half.toml", "--budget", 100, *written)
    assert done.status == 0, done.err
    told = f"1 Softmax -> fewer queries: {TOKENS // 2} of {TOKENS} tokens go on"
    assert told in done.out
    assert told in (place / "half.md").read_text()
    lengths = {op.type.shape[-2] for op in walk(load(place / "half.onnx")) if isinstance(op, Relu)}
    assert lengths == {TOKENS // 2}
    whole = tuned(place, *QUICK, "--budget", 100, "--json", "-o", place / "whole.onnx").json
    plan = ppc.compile(place / "half.onnx").plan
    assert ppc.summary(plan)["predicted"]["online"]["client"] < 0.8 * online(place / "whole.onnx")
    assert whole["eliminated"] == []


def online(model: Path) -> int:
    found: int = ppc.summary(ppc.compile(model).plan)["predicted"]["online"]["client"]
    return found


def test_texts_of_two_are_trained_on(place: Path) -> None:
    done = tuned(place, *QUICK, "--budget", 100, "--mix", 2, "--json", "-o", place / "mixed.onnx")
    assert done.status == 0, done.err
    assert done.json["rows"]["train"] == 3 * 140
    assert "control" in done.json["final"]
    assert done.json["mix"] == 2


def test_other_rows_decide(place: Path) -> None:
    table(place / "decide.tsv", 50, seed=9)
    more = (place / "train.tsv").read_text() + (place / "decide.tsv").read_text().split("\n", 1)[1]
    (place / "more.tsv").write_text(more)
    apart = ("--decide", place / "decide.tsv", "--budget", 100, "--json")
    done = tuned(place, *QUICK, *apart, data="more.tsv")
    assert done.status == 0, done.err
    train, rate, decide, valid = done.json["rows"].values()
    known = {line for name in ("dev", "decide") for line in (place / f"{name}.tsv").read_text().splitlines()}
    left = [line for line in (place / "train.tsv").read_text().splitlines() if line not in known]
    assert (train + rate, valid) == (len(left), 60)
    assert decide <= 50
    assert "rows of" in done.err
    tuned(place, *QUICK, "--decide", place / "train.tsv").failed(
        2, "--decide is --data, .*train.tsv: what is rep"
    )
    tuned(place, *QUICK, "--decide", place / "dev.tsv").failed(
        2, "--valid is --decide, .*dev.tsv: the final numb"
    )
    tuned(place, *QUICK, "--decide", place / "none.tsv").failed(2, "none.tsv")


@pytest.fixture
def unlabelled(place: Path) -> dict[str, str]:
    lines = (place / "train.tsv").read_text().splitlines()[1:]
    texts = [line.split("\t")[0] + "\n" for line in lines]
    (place / "texts.txt").write_text("".join(texts[:100]))
    (place / "others.txt").write_text("".join(texts[100:140]))
    return {"data": "texts.txt", "valid": "others.txt"}


def test_texts_without_labels(place: Path, unlabelled: dict[str, str]) -> None:
    """What the teacher gives is all that is known: no accuracy, no control."""
    done = tuned(place, *QUICK, "--budget", 100, "--json", **unlabelled)
    assert done.status == 0, done.err
    assert done.json["task"] == "embeddings"
    assert set(done.json["final"]) == {"teacher", "untuned", "tuned"}
    assert 0 < done.json["final"]["tuned"]["cosine"] <= 1


def test_short_texts_are_trained_on_at_their_length(tmp_path: Path) -> None:
    """Of a model whose length is open; of one whose length is not they are padded, as above."""
    onnx.save(tiny_bert(Shape(layers=1, width=8, vocabulary=20, positions=24)), tmp_path / "m.onnx")
    word_tokenizer(tmp_path / "tokenizer.json", 20)
    rng = np.random.default_rng(0)
    for name, count in (("train", 60), ("dev", 20)):
        texts = [" ".join(f"w{i}" for i in rng.integers(1, 20, rng.integers(2, 24))) for _ in range(count)]
        (tmp_path / f"{name}.txt").write_text("\n".join(texts) + "\n")
    options = ("--output", "sentence_embedding", *QUICK, "--budget", 100, "--json")
    done = tuned(tmp_path, *options, tokens=24, data="train.txt", valid="dev.txt")
    assert done.status == 0, done.err
    assert "tuning 1: short texts at 8, 16 tokens" in done.err
    assert done.err.count("axis sequence") == 1
    assert done.json["final"]["tuned"]["cosine"] > done.json["final"]["untuned"]["cosine"]


@pytest.mark.parametrize(
    ("output", "suffix", "task"), [("next", "txt", "next token"), ("mean", "tsv", "embeddings")]
)
def test_decoders_and_pairs(tmp_path: Path, output: str, suffix: str, task: str) -> None:
    """A model of several outputs, for next tokens of texts, and for embeddings of pairs that have labels."""
    text_model(tmp_path / "m.onnx", "logits", "next", "mean")
    word_tokenizer(tmp_path / "tokenizer.json")
    rng = np.random.default_rng(0)
    for name, count in (("train", 60), ("dev", 20)):
        texts = [" ".join(f"w{i}" for i in rng.integers(1, 9, 6)) for _ in range(2 * count)]
        pairs = [f"{a}\t{b}\t{i % 2}" for i, (a, b) in enumerate(zip(texts[::2], texts[1::2], strict=True))]
        lines = texts if suffix == "txt" else ["first\tsecond\tlabel", *pairs]
        (tmp_path / f"{name}.{suffix}").write_text("\n".join(lines) + "\n")
    files = {"data": f"train.{suffix}", "valid": f"dev.{suffix}"}
    done = tuned(tmp_path, "--output", output, *QUICK, "--budget", 100, "--json", **files)
    assert done.status == 0, done.err
    assert done.json["task"] == task
    assert [each["operator"] for each in done.json["decisions"]] == ["LayerNorm"]
    likeness = {"next token": "agreement", "embeddings": "cosine"}[task]
    assert likeness in done.json["final"]["tuned"]
    assert ("rank_correlation" in done.json["final"]["tuned"]) == (task == "embeddings")


def test_what_returns_is_exact_in_the_file(place: Path, unlabelled: dict[str, str]) -> None:
    """Where nothing is to be given up, all does."""
    written = ("--report", place / "exact.md", "-o", place / "exact.onnx")
    done = tuned(place, *QUICK, "--budget", 0, *written, **unlabelled)
    assert done.status == 0, done.err
    kinds = [type(op).__name__ for op in walk(load(place / "exact.onnx"))]
    assert kinds.count("LayerNorm") == 3
    text = (place / "exact.md").read_text()
    assert text.count("| LayerNorm | centred_affine → exact |") == 2
    assert "the model as it was | " in text
    assert "1.00 times fewer bytes" in done.out
    assert "the file is the model as it was" in done.out


def test_it_goes_on_after_an_interruption(place: Path) -> None:
    work, again = place / "first", place / "second"
    for each in (work, again):
        each.mkdir()
    steps = ("--steps", 120, "--rate", "5e-3", "--json")
    running = Running(*asked(place, *steps, "-o", place / "a.onnx", "--work", work))
    while not list(work.glob("*.safetensors")):
        assert running.process.poll() is None, running.end().err
    running.process.send_signal(signal.SIGINT)
    assert running.end().status == 130
    resumed = tuned(place, *steps, "-o", place / "a.onnx", "--work", work)
    whole = tuned(place, *steps, "-o", place / "b.onnx", "--work", again)
    assert resumed.status == whole.status
    assert "a budget of 1 points is less than one of the 40 rows that decide" in whole.err
    assert {**resumed.json, "file": ""} == {**whole.json, "file": ""}
    assert (place / "a.onnx").read_bytes() == (place / "b.onnx").read_bytes()


def test_a_target_out_of_reach(place: Path) -> None:
    tuned(place, *QUICK, "--target", "1kB").failed(2, r"--target 0\.001MB: with all 4 units replaced it is")


def test_a_budget_that_a_target_does_not_allow(place: Path, done: Done) -> None:
    cheap = 1.02 * done.json["rounds"][0]["bytes"] / 1e6
    ended = tuned(place, *QUICK, "--budget", 0, "--target", f"{cheap:.3f}MB", "--json")
    if not ended.json["met"]:
        assert ended.status == 6
    assert ended.json["rounds"][-1]["bytes"] <= cheap * 1e6


def _write(path: Path, text: str) -> str:
    path.write_text(text)
    return path.name


WRONG: dict[str, tuple[str, ...]] = {
    r"one\.tsv: each of \d+ rows has the label '1'": ("data=one.tsv",),
    r"long\.tsv: 1 of \d+ prompts have more than 6 tokens": ("data=long.tsv",),
    r"other\.json: the id 55 .* the tokenizer of another model": (
        "data=strange.tsv",
        "--tokenizer",
        "other.json",
    ),
    r"grades\.tsv, line 1: no column 'label'": ("data=grades.tsv",),
    r"--valid is --data": ("valid=train.tsv",),
    r"profile 'exact' replaces nothing": ("--profile", "exact"),
    r"there is no folder": ("-o", "nowhere/x.onnx"),
    r"written as \.md, \.html, \.json": ("--report", "x.pdf"),
    r"as 40MB or 2s, not 'fast'": ("--target", "fast"),
    r"no output 'nothing'": ("--output", "nothing"),
    r"train\.tsv has labels, and .*plain\.txt has none": ("valid=plain.txt",),
    r"--label-weight 1: .*plain\.txt tells no": ("data=plain.txt", "valid=other.txt", "--label-weight", "1"),
}


@pytest.mark.parametrize("words", WRONG)
def test_what_does_not_fit(place: Path, words: str) -> None:
    """Found out before anything is trained or written, with one line."""
    rows = (place / "train.tsv").read_text().splitlines()
    tables = {
        "one": [rows[0], *(row for row in rows[1:] if row.endswith("\t1"))],
        "long": [*rows, "w1 w2 w3 w4 w5 w6 w7\t1"],
        "strange": [*rows, "w55\t1"],
        "grades": ["sentence\tgrade", *rows[1:]],
    }
    for name, lines in tables.items():
        (place / f"{name}.tsv").write_text("\n".join(lines) + "\n")
    (place / "plain.txt").write_text("".join(row.split("\t")[0] + "\n" for row in rows[1:]))
    (place / "other.txt").write_text("w1 w2\nw3 w4\n")
    word_tokenizer(place / "other.json", 60)
    files = dict(each.split("=") for each in WRONG[words] if "=" in each)
    args = [place / each if "." in each else each for each in WRONG[words] if "=" not in each]
    output = () if "-o" in args else ("-o", place / "new.onnx")
    tuned(place, *args, *output, **files).failed(2, words)
    assert not (place / "new.onnx").exists()


def test_labels_and_no_logits(tmp_path: Path) -> None:
    text_model(tmp_path / "m.onnx", "next", "mean")
    word_tokenizer(tmp_path / "tokenizer.json")
    for name in ("train", "dev"):
        (tmp_path / f"{name}.tsv").write_text(
            "text\tlabel\n" + f"w1 w2 {'w3' * (name == 'dev')}\t0\nw3\t1\n" * 20
        )
    tuned(tmp_path, "--output", "next").failed(
        2, r"output 'next' has shape \(1, 6, 9\), a row for each token"
    )
    tuned(tmp_path, "--output", "mean").failed(
        2, r"output 'mean' has shape \(1, 8\), and .* labels of 2 classes"
    )


def test_without_pytorch(place: Path) -> None:
    lacking = place / "lacking"
    lacking.mkdir()
    (lacking / "torch.py").write_text("raise ImportError('none here')\n")
    path = f"{lacking}:{os.environ.get('PYTHONPATH', '')}"
    running = Running(*asked(place), env={**os.environ, "PYTHONPATH": path})
    running.end().failed(2, r"pip install 'ppc\[tune\]'")
