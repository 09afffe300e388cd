"""Texts as calibration data: which are taken, and that a plan is calibrated on what they become."""

from pathlib import Path

import numpy as np
import pytest
from command import called
from text_model import TOKENS, text_model, word_tokenizer

import ppc
from ppc.backend.samples import TextSamples
from ppc.frontend.ir.graph import FLOAT, Graph, Input
from ppc.frontend.read.load import load
from ppc.runtime.base.errors import BadInput
from ppc.runtime.service.dataset import DataSet, read

LENGTHS = [3, 1, 4, 2, 5, 9, 2, 3, 1, 4]


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    made = tmp_path_factory.mktemp("samples")
    text_model(made / "m.onnx")
    word_tokenizer(made / "tokenizer.json")
    (made / "texts.txt").write_text("".join(" ".join(["w2"] * n) + "\n" for n in LENGTHS))
    return made


def taken(place, rows: int) -> list[int]:
    graph = load(place / "m.onnx", seq_len=TOKENS)
    samples = TextSamples(read(place / "texts.txt"), place / "tokenizer.json", rows).of(graph)
    assert all(x["input_ids:0"].shape == (1, TOKENS) for x in samples)
    return [int(x["attention_mask:0"].sum()) for x in samples]


def test_all_of_few_and_long_ones_cut(place):
    assert taken(place, 64) == sorted(min(n, TOKENS) for n in LENGTHS)


def test_of_many_the_shortest_the_longest_and_evenly_between(place):
    assert taken(place, 3) == [1, 3, TOKENS]


def test_a_plan_is_that_of_the_same_inputs(place):
    samples = TextSamples(read(place / "texts.txt"), place / "tokenizer.json")
    by_texts = ppc.compile(place / "m.onnx", seq_len=TOKENS, calibrate=samples)
    inputs = samples.of(load(place / "m.onnx", seq_len=TOKENS))
    by_inputs = ppc.compile(place / "m.onnx", seq_len=TOKENS, calibrate=inputs)
    assert by_texts.plan.hash == by_inputs.plan.hash
    assert by_texts.plan.hash != ppc.compile(place / "m.onnx", seq_len=TOKENS).plan.hash


def test_the_command_line(place):
    plan = place / "plan.bin"
    given = ("compile", place / "m.onnx", "--seq-len", TOKENS, "-o", plan)
    tokenizer = ("--tokenizer", place / "tokenizer.json")
    assert called(*given, "--calibrate", place / "texts.txt", *tokenizer).status == 0
    np.savez(place / "x.npz", a=np.zeros(1))
    for wrong, why in (
        (("--calibrate", place / "texts.txt"), "need --tokenizer tokenizer.json"),
        (tokenizer, "--tokenizer goes with --calibrate TEXTS"),
        (("--calibrate", place / "x.npz", *tokenizer), "x.npz holds inputs"),
    ):
        done = called(*given, *wrong)
        assert done.status == 2
        assert why in done.err


def test_inputs_of_no_text(place):
    samples = TextSamples(DataSet(Path("t.txt"), (1,), ("w1",)), place / "tokenizer.json")
    with pytest.raises(BadInput, match="'pixels' does not come from a tokenizer; give the inputs"):
        samples.of(Graph((Input((1, 4), FLOAT).named("pixels"),), {}))
