"""What a client types and reads: texts and pairs, batches, labels, files by their endings, options once."""

from __future__ import annotations

import io
import json
import re
from pathlib import Path

import numpy as np
import pytest
from command import Done, called, serving
from text_model import LABELS, TOKENS, text_model, word_tokenizer

import ppc
from ppc.frontend.read import run
from ppc.runtime.session.connection import predict_cost

CLIENT = ("--role", "client", "--connect", "127.0.0.1:9", "--timeout", 3)


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> Path:
    made = tmp_path_factory.mktemp("text")
    text_model(made / "m.onnx")
    ppc.compile(made / "m.onnx", seq_len=TOKENS).save(made / "plan.bin", made / "plan.weights")
    word_tokenizer(made / "tokenizer.json")
    (made / "config.json").write_text(json.dumps({"id2label": {"0": LABELS[0], "1": LABELS[1]}}))
    return made


@pytest.fixture(scope="module")
def server(place):
    with serving(place / "plan.bin") as (_, address):
        yield address


def asked(place: Path, server: str, *words: object) -> Done:
    return called("run", place / "plan.bin", "--role", "client", "--connect", server, *words)


def expected(place: Path, first: list[int], second: tuple[int, ...] = ()) -> np.ndarray:
    """ONNX Runtime's logits, without padding."""
    ids = [*first, *second]
    feeds = {
        "input_ids:0": [ids],
        "attention_mask:0": [[1] * len(ids)],
        "token_type_ids:0": [[0] * len(first) + [1] * len(second)],
        "position_ids": [list(range(len(ids)))],
    }
    return run.run(place / "m.onnx", feeds)["logits"]


def test_one_text_and_what_it_says(place, server, tmp_path):
    done = asked(
        place, server, "--text", "w3 w1 w2", "--tokenizer", place / "tokenizer.json", "--json",
        "--labels", place / "config.json", "-o", tmp_path / "out.json", "--report", tmp_path / "report.json",
    )  # fmt: skip
    assert done.status == 0, done.err
    assert np.allclose(done.json["outputs"]["logits"], expected(place, [3, 1, 2]), atol=0.05)
    (row,) = done.json["labels"]["logits"]
    logits = np.array(done.json["outputs"]["logits"][0])
    assert [each["label"] for each in row["labels"]] == [LABELS[i] for i in np.argsort(-logits)]
    assert sum(each["probability"] for each in row["labels"]) == pytest.approx(1)
    assert json.loads((tmp_path / "out.json").read_text()) == done.json["outputs"]
    assert json.loads((tmp_path / "report.json").read_text()) == done.json["report"]


def test_pairs_in_a_batch_over_one_connection(place, server, tmp_path):
    done = asked(
        place, server, "--tokenizer", place / "tokenizer.json", "--json", "-o", tmp_path / "out.npz",
        "--text", "w3 w1", "--text-pair", "w2", "--text", "w5", "--text-pair", "w4 w4 w1",
        "--report", tmp_path / "report.json",
    )  # fmt: skip
    assert done.status == 0, done.err
    logits = [each["outputs"]["logits"] for each in done.json["inferences"]]
    wanted = [expected(place, [3, 1], (2,)), expected(place, [5], (4, 4, 1))]
    assert np.allclose(logits, wanted, atol=0.05)
    assert np.array_equal(np.load(tmp_path / "out.npz")["logits"], logits)
    reports = [each["report"] for each in done.json["inferences"]]
    assert json.loads((tmp_path / "report.json").read_text()) == {"inferences": reports}
    assert reports[0]["setup"]["sent"] > 0 == reports[1]["setup"]["sent"]


@pytest.fixture(scope="module")
def pairwise(place):
    """A plan of two prompts at a time, and its server."""
    plan = place / "two.bin"
    sizes = ("--seq-len", TOKENS, "--batch", 2)
    done = called("compile", place / "m.onnx", "-o", plan, *sizes)
    assert done.status == 0, done.err
    with serving(plan) as (_, address):
        yield plan, address


@pytest.mark.parametrize("count", [1, 2, 3])
def test_several_prompts_in_one_inference(place, pairwise, tmp_path, count):
    plan, server = pairwise
    texts = [[3, 1, 2], [5], [4, 4, 1, 6]][:count]
    words = [each for text in texts for each in ("--text", " ".join(f"w{i}" for i in text))]
    told = (*words, "--tokenizer", place / "tokenizer.json", "-o", tmp_path / "out.npz")
    done = called("run", plan, "--role", "client", "--connect", server, *told, "--json")
    assert done.status == 0, done.err
    wanted = np.array([expected(place, text) for text in texts])
    logits = np.load(tmp_path / "out.npz")["logits"]
    assert np.allclose(logits, wanted if count > 1 else wanted[0], atol=0.05)
    inferences = done.json["inferences"] if count > 1 else [done.json]
    assert [len(each["outputs"]["logits"]) for each in inferences] == [[1], [2], [2, 1]][count - 1]

    clear = called("simulate", plan, *told)
    assert clear.status == 0, clear.err
    assert np.allclose(np.load(tmp_path / "out.npz")["logits"], logits, atol=0.05)


def encoded(texts: list[list[int]]) -> dict[str, np.ndarray]:
    """Inputs of prompts below each other, padded to the plan's length."""
    ids = np.array([[*text, *[0] * (TOKENS - len(text))] for text in texts])
    mask = (ids > 0).astype(np.int64)
    return {
        "input_ids:0": ids,
        "attention_mask:0": mask,
        "token_type_ids:0": np.zeros_like(ids),
        "position_ids": np.broadcast_to(np.arange(TOKENS), ids.shape),
    }


@pytest.mark.parametrize("how", ["rows", "stacked", "jsonl", "stdin"])
@pytest.mark.parametrize("which", ["pairwise", "server"])
def test_prompts_from_a_file_whatever_is_taken_together(place, request, tmp_path, monkeypatch, how, which):
    """The same file, and the same answers, for a plan of two prompts at a time and for one of one."""
    texts = [[3, 1, 2], [5], [4, 4, 1, 6]]
    rows = encoded(texts)
    plan, server = request.getfixturevalue("pairwise") if which == "pairwise" else (place / "plan.bin", None)
    server = server or request.getfixturevalue("server")
    file = tmp_path / ("in.jsonl" if how == "jsonl" else "in.npz")
    lines = [json.dumps({name: value[i : i + 1].tolist() for name, value in rows.items()}) for i in range(3)]
    if how == "rows":
        if which == "server":
            pytest.skip("a plan of one prompt takes them stacked")
        np.savez(file, **rows)
    elif how == "stacked":
        np.savez(file, **{name: value[:, None] for name, value in rows.items()})
    elif how == "jsonl":
        file.write_text("\n".join(lines) + "\n\n")
    else:
        monkeypatch.setattr("sys.stdin", io.StringIO("\n".join(lines)))
    told = ("--input", "-" if how == "stdin" else file, "-o", tmp_path / "out.npz")
    done = called("run", plan, "--role", "client", "--connect", server, *told, "--json")
    assert done.status == 0, done.err
    wanted = np.array([expected(place, text) for text in texts])
    logits = np.load(tmp_path / "out.npz")["logits"]
    assert logits.shape == (3, 1, 2)
    assert np.allclose(logits, wanted, atol=0.05)
    assert len(done.json["inferences"]) == (2 if which == "pairwise" else 3)


def test_as_many_prompts_as_one_inference_takes_are_one_sample(place, pairwise, tmp_path):
    np.savez(tmp_path / "in.npz", **encoded([[3, 1], [5]]))
    done = called("simulate", pairwise[0], "--input", tmp_path / "in.npz", "--json")
    assert done.status == 0, done.err
    assert np.shape(done.json["outputs"]["logits"]) == (2, 2)


@pytest.mark.parametrize(
    ("lines", "says"),
    [
        (
            [{"input_ids:0": [[1]]}],
            r"samples\[0\] has input_ids:0, and the inputs are input_ids:0, attention",
        ),
        ([{"x": 1}, 3], "in.jsonl, line 2: not readable as JSON of numbers: no object of input names"),
        ([{"x": [[1], [1, 2]]}], "in.jsonl, line 1: not readable as JSON of numbers"),
        ([], "no line with a sample"),
        (
            [encoded([[3, 1]]), {name: x[:, :2] for name, x in encoded([[1]]).items()}],
            r"'input_ids:0' of samples\[1\] has shape \(1, 2\); in an inference of several prompts each is "
            r"\(prompts, 6\)",
        ),
        (
            [encoded([[3, 1]]) | {"position_ids": np.zeros((2, 6))}],
            r"samples\[0\] has not one number of prompts",
        ),
    ],
)
def test_wrong_samples_are_told_by_their_places(place, pairwise, tmp_path, lines, says):
    file = tmp_path / "in.jsonl"
    plain = [
        {name: np.asarray(x).tolist() if not isinstance(x, list) else x for name, x in each.items()}
        if isinstance(each, dict)
        else each
        for each in lines
    ]
    file.write_text("".join(json.dumps(each) + "\n" for each in plain))
    done = called("simulate", pairwise[0], "--input", file)
    assert done.status == 2
    assert re.search(says, done.err), done.err


@pytest.mark.parametrize("command", ["run", "simulate"])
def test_what_is_refused_is_named_by_its_prompts(place, pairwise, tmp_path, command):
    """The third of three prompts, of a plan of two at a time, has an id that is no row of the table."""
    rows = encoded([[3, 1], [5], [4]])
    rows["input_ids:0"][2, 0] = 99
    np.savez(tmp_path / "in.npz", **rows)
    words = ("run", pairwise[0], "--role", "client", "--connect", pairwise[1])
    words = words if command == "run" else ("simulate", pairwise[0])
    called(*words, "--input", tmp_path / "in.npz").failed(2, "prompts 2 to 3: input 'input_ids:0'")


def test_what_goes_in_together_costs_less_than_one_by_one(place, pairwise):
    one, two = (predict_cost(ppc.load_plan(each)) for each in (place / "plan.bin", pairwise[0]))
    assert two.total("online").flights == one.total("online").flights
    assert ppc.inspect(ppc.load_plan(pairwise[0]))["prompts_a_minute"]["together"] == 2
    assert two.total("offline").bytes < 2 * one.total("offline").bytes


def test_one_prompt_after_the_other_is_what_evaluate_takes(place, pairwise, tmp_path):
    (tmp_path / "d.tsv").write_text("text\tlabel\nw1 w2\tA\nw3\tB\n")
    done = called(
        "evaluate", pairwise[0], "--data", tmp_path / "d.tsv", "--tokenizer", place / "tokenizer.json"
    )
    assert done.status == 2
    assert "takes 2 prompts at a time" in done.err


def test_stacked_inputs_are_a_batch_too(place, server, tmp_path):
    shape = (3, 1, 4)
    feeds = {
        name: np.ones(shape, np.int64) for name in ("input_ids:0", "attention_mask:0", "token_type_ids:0")
    }
    np.savez(tmp_path / "in.npz", **feeds, position_ids=np.broadcast_to(np.arange(4), shape))
    done = asked(place, server, "--input", tmp_path / "in.npz", "--json")
    assert done.status == 0, done.err
    assert len(done.json["inferences"]) == 3


def test_standard_input_and_labels_for_people(place, server, monkeypatch):
    monkeypatch.setattr("sys.stdin", io.StringIO("w3 w1\nw2\n"))
    done = asked(
        place,
        server,
        "--text",
        "-",
        "--tokenizer",
        place / "tokenizer.json",
        "--labels",
        place / "config.json",
    )
    assert done.status == 0, done.err
    logits = expected(place, [3, 1, 2])[0]
    likelier = LABELS[int(np.argmax(logits))]
    chance = 1 / (1 + np.exp(-abs(logits[0] - logits[1])))
    label, probability = done.out.split(": ")[1].split(", ")[0].split()
    assert (label, float(probability)) == (likelier, pytest.approx(chance, abs=0.02))


def test_simulate_takes_labels_and_writes_json(place, tmp_path):
    (tmp_path / "in.json").write_text(
        json.dumps(
            {
                "input_ids:0": [[3, 1, 2]],
                "attention_mask:0": [[1, 1, 1]],
                "token_type_ids:0": [[0, 0, 0]],
                "position_ids": [[0, 1, 2]],
            }
        )
    )
    args = ("simulate", place / "plan.bin", "--input", tmp_path / "in.json")
    done = called(*args, "-o", tmp_path / "o.json", "--labels", place / "config.json", "--json")
    assert done.status == 0, done.err
    assert np.allclose(done.json["outputs"]["logits"], expected(place, [3, 1, 2]), atol=0.05)
    assert json.loads((tmp_path / "o.json").read_text()) == done.json["outputs"]
    assert done.json["labels"]["logits"][0]["at"] == [0]
    assert LABELS[0] in called(*args, "--labels", place / "config.json").out


def test_a_file_of_texts_is_a_data_set(place, server, tmp_path):
    """At two parties and in the simulator, which say the same of it."""
    words = tmp_path / "texts.txt"
    words.write_text("w3 w1\tw2\r\nw5\tw4 w4 w1\n")
    args = ("--text-file", words, "--tokenizer", place / "tokenizer.json", "--json")
    wanted = [expected(place, [3, 1], (2,)), expected(place, [5], (4, 4, 1))]
    done = asked(place, server, *args)
    assert done.status == 0, done.err
    assert np.allclose([each["outputs"]["logits"] for each in done.json["inferences"]], wanted, atol=0.05)
    simulated = called("simulate", place / "plan.bin", *args).json
    assert np.allclose(simulated["outputs"]["logits"], wanted, atol=0.05)
    assert simulated["headroom"]
    words.write_text("w3 w1 w2")
    assert np.allclose(called("simulate", place / "plan.bin", *args).json["outputs"]["logits"],
                       [expected(place, [3, 1, 2])], atol=0.05)  # fmt: skip


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (b"", "the file is empty"),
        (b"w1\n\nw2\n", "line 2: the prompt is empty"),
        (b"w1\tw2\nw1\n", "line 2: 0 tabs"),
        (b"w1\tw2\tw3\n", "line 1: 2 tabs; a line is a prompt"),
        (b"w1\nw1\t \n", "line 2: 1 tabs"),
        (b"w1\tw2\nw1\t \n", "line 2: the prompt is empty"),
        (b"\xff\xfe", "no text in UTF-8"),
        (b"w1\nw1 w2 w3 w4 w5 w6 w7\n", "samples[1]"),
    ],
)
def test_a_file_that_holds_no_texts(place, tmp_path, text, words):
    (tmp_path / "t.txt").write_bytes(text)
    args = ("--text-file", tmp_path / "t.txt", "--tokenizer", place / "tokenizer.json")
    done = called("simulate", place / "plan.bin", *args)
    assert done.status == 2
    assert words in done.err


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (("--text", ""), "the prompt is empty"),
        (("--text", "w1", "--text", "  "), "the prompt is empty"),
        (("--text", "-"), "the prompt is empty"),
        (("--text", "-", "--text-pair", "-"), "standard input, which can be read once"),
        (("--text", "w1", "--text", "w2", "--text-pair", "w3"), "2 texts and 1 pairs"),
        (("--text", "w1", "--text-pair", "w3", "--text-pair", "w3"), "1 texts and 2 pairs"),
        (("--text-pair", "w1"), "--text-pair goes with --text, which is not given"),
        (("--text-pair", "w1", "--input", "in.npz"), "--text-pair goes with --text, which is not given"),
        (("--text", "w1", "--text-file", "texts.txt"), "either --input FILE or --text"),
        (("--text", "w1", "--text", "w2 " * 7), "7 tokens, the plan holds 6"),
        (("--text", "w1", "--input", "in.npz"), "either --input FILE or --text"),
        (("--text", "w1", "-o", "out.txt"), "--out out.txt: .*npz, .json, .jsonl"),
        (("--text", "w1", "-o", "out"), "--out out: .*npz, .json, .jsonl"),
        (("--text", "w1", "--labels", "none.json"), "none.json"),
    ],
)
def test_what_is_asked_wrongly_reaches_no_server(place, args, words, monkeypatch):
    monkeypatch.setattr("sys.stdin", io.StringIO("\n"))
    done = called("run", place / "plan.bin", *CLIENT, "--tokenizer", place / "tokenizer.json", *args)
    done.failed(2, words)


def test_labels_that_no_output_has(place, tmp_path):
    (tmp_path / "labels.txt").write_text("a\nb\nc\n")
    done = called(
        "run", place / "plan.bin", *CLIENT, "--tokenizer", place / "tokenizer.json", "--text", "w1",
        "--labels", tmp_path / "labels.txt",
    )  # fmt: skip
    done.failed(2, r"3 labels, and no output has as many .*logits \(1, 2\)")


def test_lists_are_given_as_often_as_one_likes(place):
    done = called("check", place / "m.onnx", "--dim", f"sequence={TOKENS}", "--dim", "batch=1")
    assert done.status == 0, done.err


def test_compile_tells_what_each_axis_became(place, tmp_path):
    done = called("compile", place / "m.onnx", "-o", tmp_path / "p.bin", "--seq-len", "4,6", "--json")
    assert done.status == 0, done.err
    assert {(each["input"], each["axis"]): (each["name"], each["size"]) for each in done.json["axes"]} == {
        (name, axis): found
        for name in ("input_ids:0", "attention_mask:0", "token_type_ids:0", "position_ids")
        for axis, found in enumerate([("batch", 1), ("sequence", 6)])
    }
    for size in (4, 6):
        assert f"axis sequence = {size}, --seq-len: input_ids:0.1, " in done.err
