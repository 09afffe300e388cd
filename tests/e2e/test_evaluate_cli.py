"""`ppc evaluate`: a report for people, one document, and what a stranger gives it instead of a data set."""

from __future__ import annotations

import json
import signal
from pathlib import Path

import numpy as np
import pytest
from command import Done, Running, called
from text_model import LABELS, LOUD, TOKENS, text_model, word_tokenizer

import ppc

TEXTS = [f"w{a} w{b} w{c}" for a, b, c in np.random.default_rng(1).integers(1, 8, (20, 3))]


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> Path:
    made = tmp_path_factory.mktemp("evaluate")
    text_model(made / "m.onnx", "logits", "next")
    word_tokenizer(made / "tokenizer.json")
    word_tokenizer(made / "larger.json", 30)
    word_tokenizer(made / "smaller.json", 5)
    (made / "config.json").write_text(json.dumps({"id2label": {"0": LABELS[0], "1": LABELS[1]}}))
    wide = ppc.compile(made / "m.onnx", seq_len=TOKENS, outputs=["logits"])
    wide.save(made / "plan.bin", made / "plan.weights")
    quiet = ppc.tokenize_all(wide.plan, TEXTS, made / "tokenizer.json")
    ppc.compile(made / "m.onnx", seq_len=TOKENS, outputs=["logits"], calibrate=quiet, margin=1.0).save(
        made / "tight.bin", made / "tight.weights"
    )
    ppc.compile(made / "m.onnx", seq_len=[4, TOKENS], outputs=["logits", "next"]).save(
        made / "both.bin", made / "both.weights"
    )
    rows = [f"{text}\t{i % 2}" for i, text in enumerate(TEXTS)]
    (made / "dev.tsv").write_text("sentence\tlabel\n" + "\n".join(rows) + "\n")
    return made


def evaluated(place: Path, *args: object, plan: str = "plan.bin", data: object = "dev.tsv") -> Done:
    tokenizer = () if "--tokenizer" in args else ("--tokenizer", place / "tokenizer.json")
    return called("evaluate", place / plan, "--data", place / str(data), *tokenizer, *args)


def test_a_report_for_people(place):
    done = evaluated(place, "--model", place / "m.onnx", "--private", 2)
    assert done.status == 0, done.err
    for words in (
        "classes by logits: 20 rows of",
        "20 prompts simulated, ",
        "20 of 20  simulated as float",
        "2 of 2  two parties as simulated",
        " %, 95 % ",
        "approximation",
        "fixed point",
        "protocol",
        "two parties: 2 inferences, 0 refused by the guard; lines 2, 21",
        "bytes and flights as predicted",
        "nearest to their rings",
    ):
        assert words in done.out, words


def test_one_document(place, tmp_path):
    done = evaluated(place, "--json", "-o", tmp_path / "report.json", "--limit", 7)
    assert done.status == 0, done.err
    written = json.loads((tmp_path / "report.json").read_text())
    assert written == done.json
    assert written["rows"] == written["accuracy"]["simulated"]["of"] == 7
    rate = written["accuracy"]["simulated"]
    assert rate["low"] < rate["value"] < rate["high"]
    assert (written["task"], written["left"], written["two_parties"]) == ("classes", [], None)
    assert written["headroom"]


def test_a_plan_of_several_lengths_and_outputs(place):
    evaluated(place, plan="both.bin").failed(2, "several outputs, logits, next; say by --output")
    done = evaluated(place, "--output", "logits", "--json", plan="both.bin")
    assert done.status == 0, done.err
    same = evaluated(place, "--json").json["accuracy"]
    assert done.json["accuracy"] == same


def test_labels_by_name(place, tmp_path):
    """In the order of a model's config, or of the names."""
    rows = [f"{text}\t{LABELS[i % 2]}\r" for i, text in enumerate(TEXTS)]
    (tmp_path / "dev.tsv").write_bytes(("\ufefftext\tlabel\r\n" + "\n".join(rows)).encode())
    wanted = evaluated(place, "--json").json["accuracy"]
    for named in ((), ("--labels", place / "config.json")):
        done = evaluated(place, "--json", *named, data=tmp_path / "dev.tsv")
        assert done.json["accuracy"] == wanted
        assert done.json["classes"] == list(LABELS)
    (tmp_path / "labels.txt").write_text("\n".join(LABELS[::-1]))
    turned = evaluated(place, "--json", "--labels", tmp_path / "labels.txt", data=tmp_path / "dev.tsv")
    assert turned.json["accuracy"]["simulated"]["hits"] == 20 - wanted["simulated"]["hits"]
    assert "classes: 0 bad, 1 good" in evaluated(place, data=tmp_path / "dev.tsv").out


def test_rows_that_leave_a_ring_are_told_after_the_report(place, tmp_path):
    (tmp_path / "dev.tsv").write_text(f"text\tlabel\nw1\t0\n{LOUD}\t1\nw2\t1\n")
    for form in ((), ("--json",)):
        done = evaluated(place, *form, plan="tight.bin", data=tmp_path / "dev.tsv")
        assert done.status == 6
        assert "dev.tsv: 1 of 3 rows leave a ring, on line 3; the first: " in done.err
        assert done.out
    assert done.json["accuracy"]["simulated"]["of"] == 2
    assert [each["line"] for each in done.json["left"]] == [3]


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (("--limit", 0), "--limit"),
        (("--private", -1), "--private"),
        (("--private", 21), "to run 21 rows, and there are 20"),
        (("--label-column", "class"), "no column 'class' among sentence, label"),
        (("--text-column", "text"), "no column 'text'"),
        (("--output", "next"), "no output 'next'; it has logits"),
        (("--model", "none.onnx"), "none.onnx"),
        (("--tokenizer", "none.json"), "none.json"),
        (("--weights", "none.weights"), "none.weights"),
        (("--labels", "none.json"), "none.json"),
        (("-o", "no/such/report.json"), "there is no folder no/such"),
    ],
)
def test_what_is_asked_wrongly(place, args, words):
    evaluated(place, *args).failed(2, words)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "the file is empty"),
        ("sentence\tlabel\nw1\t0\n\nw2\t1\n", "line 3: the line is empty"),
        ("sentence\tlabel\nw1\t0\nw2\t2\n", "and .* has labels of 3 classes"),
        ("sentence\tlabel\nw1\t1\nw2\t1\n", "each of 2 rows has the label '1'"),
        ("sentence\tlabel\nw1\t0\nw20\t1\n", "line 3: the tokenizer cannot encode the prompt"),
        (f"sentence\tlabel\nw1\t0\n{'w1 ' * 7}\t1\n", "1 of 2 prompts have more than 6 tokens, .* line 3"),
    ],
)  # fmt: skip
def test_what_is_no_data_set_for_it(place, tmp_path, text, words):
    (tmp_path / "dev.tsv").write_text(text)
    evaluated(place, data=tmp_path / "dev.tsv").failed(2, words)


def test_a_folder_is_no_data_set(place, tmp_path):
    evaluated(place, data=tmp_path).failed(2, "cannot be read")


def test_a_data_set_needs_a_tokenizer(place):
    called("evaluate", place / "plan.bin", "--data", place / "dev.tsv").failed(2, "need --tokenizer")


def test_a_tokenizer_of_another_vocabulary(place, tmp_path):
    """Ids beyond the model's table are named by their line; one that knows far fewer tokens is warned of."""
    (tmp_path / "dev.tsv").write_text("text\tlabel\nw1\t0\nw20\t1\n")
    done = evaluated(place, "--tokenizer", place / "larger.json", data=tmp_path / "dev.tsv")
    done.failed(2, r"line 3: input 'input_ids:0' holds 20, outside \[0, 8\]")
    (tmp_path / "dev.tsv").write_text("text\tlabel\nw1\t0\nw2\t1\n")
    done = evaluated(place, "--tokenizer", place / "smaller.json", data=tmp_path / "dev.tsv")
    assert done.status == 0
    assert "has 5 tokens, and the model's table has 9 rows" in done.err


@pytest.mark.parametrize("private", [0, 20])
def test_it_is_stopped_by_a_key(place, tmp_path, private):
    rows = [f"{text}\t{i % 2}" for i, text in enumerate(TEXTS * (1 if private else 2000))]
    (tmp_path / "dev.tsv").write_text("text\tlabel\n" + "\n".join(rows) + "\n")
    running = Running(
        "evaluate", place / "plan.bin", "--data", tmp_path / "dev.tsv", "--tokenizer",
        place / "tokenizer.json", "--private", private,
    )  # fmt: skip
    running.said("two parties on 20 rows" if private else "simulating 40000 prompts")
    running.process.send_signal(signal.SIGINT)
    done = running.end()
    assert done.status == 130
    assert "Traceback" not in done.err
    assert done.out == ""
