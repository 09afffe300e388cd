"""Text as the inputs that a plan asks for, whatever its exporter called them."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

import msgspec
import numpy as np
import pytest
from tiny import tiny_plan
from tokenizers import Tokenizer, models, pre_tokenizers, processors

from ppc.runtime.base.errors import BadInput
from ppc.runtime.plan.file import InputSpec, Plan
from ppc.runtime.service.tokens import tokenize, tokenize_all

NAMES = ("input_ids", "attention_mask", "token_type_ids", "position_ids")


def of(names: Sequence[str] = NAMES, lengths: Sequence[int] = (8,), shape: tuple[int, ...] = (1,)) -> Plan:
    """Only inputs matter here."""
    plans = [
        msgspec.structs.replace(
            tiny_plan(str(n)), inputs=tuple(InputSpec(name, (*shape, n), "int") for name in names)
        )
        for n in lengths
    ]
    return msgspec.structs.replace(plans[-1], shorter=tuple(plans[:-1]))


@pytest.fixture(scope="module")
def words(tmp_path_factory) -> Path:
    """w1, w2, … are 1, 2, …; 90 stands before, 91 after each part."""
    made = Tokenizer(
        models.WordLevel({"[PAD]": 7, "[A]": 90, "[B]": 91, **{f"w{i}": i for i in range(1, 7)}})
    )
    made.pre_tokenizer = pre_tokenizers.Whitespace()
    made.post_processor = processors.TemplateProcessing(
        single="[A] $A [B]", pair="[A] $A [B] $B:1 [B]:1", special_tokens=[("[A]", 90), ("[B]", 91)]
    )
    path = tmp_path_factory.mktemp("words") / "tokenizer.json"
    made.save(str(path))
    return path


def test_all_that_a_model_asks_for(words):
    feeds = tokenize(of(), "w1 w2", words)
    assert {name: x.tolist() for name, x in feeds.items()} == {
        "input_ids": [[90, 1, 2, 91, 7, 7, 7, 7]],
        "attention_mask": [[1, 1, 1, 1, 0, 0, 0, 0]],
        "token_type_ids": [[0] * 8],
        "position_ids": [[0, 1, 2, 3, 4, 5, 6, 7]],
    }


def test_a_pair_has_types(words):
    feeds = tokenize(of(), "w1 w2", words, pair="w3")
    assert feeds["input_ids"].tolist() == [[90, 1, 2, 91, 3, 91, 7, 7]]
    assert feeds["token_type_ids"].tolist() == [[0, 0, 0, 0, 1, 1, 0, 0]]


@pytest.mark.parametrize(
    "names",
    [
        ("input_ids:0", "attention_mask:0", "token_type_ids:0", "position_ids:0"),
        ("serving_default_input_ids:0", "serving_default_attention_mask:0"),
        ("input_word_ids", "input_mask", "input_type_ids"),
        ("segment_ids:0", "input_mask:0", "input_ids:0"),
        ("attention_mask", "input_ids"),
    ],
)
def test_other_names_for_the_same(words, names):
    feeds = tokenize(of(names), "w1 w2", words, pair="w3")
    there = {tuple(x.ravel().tolist()) for x in tokenize(of(), "w1 w2", words, pair="w3").values()}
    assert tuple(feeds) == names
    assert {tuple(x.ravel().tolist()) for x in feeds.values()} <= there
    assert len({tuple(x.ravel().tolist()) for x in feeds.values()}) == len(names)


def test_all_texts_of_a_batch_have_the_length_that_holds_the_longest(words):
    plan = of(lengths=(4, 6, 8))
    assert tokenize(plan, "w1", words)["input_ids"].shape == (1, 4)
    both = tokenize_all(plan, ["w1", "w1 w2 w3"], words)
    assert [each["input_ids"].tolist() for each in both] == [[[90, 1, 91, 7, 7, 7]], [[90, 1, 2, 3, 91, 7]]]
    paired = tokenize_all(plan, ["w1", "w2"], words, ["w3", "w4 w5"])
    assert [each["input_ids"].shape for each in paired] == [(1, 6), (1, 6)]


def test_prompts_that_go_in_together_are_filled_up_with_the_last(words):
    plan = of(("input_ids", "attention_mask"), lengths=(4, 8), shape=(2,))
    first, second = tokenize_all(plan, ["w1", "w1 w2 w3", "w4"], words)
    assert first["input_ids"].tolist() == [[90, 1, 91, 7, 7, 7, 7, 7], [90, 1, 2, 3, 91, 7, 7, 7]]
    assert first["attention_mask"].sum(axis=1).tolist() == [3, 5]
    assert second["input_ids"].tolist() == [[90, 4, 91, 7, 7, 7, 7, 7]] * 2


@pytest.mark.parametrize("shape", [(), (1,), (1, 1)])
def test_a_row_of_tokens_may_have_more_axes(words, shape):
    assert tokenize(of(("input_ids", "attention_mask"), shape=shape), "w1", words)["input_ids"].shape == (
        *shape,
        8,
    )


@pytest.mark.parametrize(
    ("plan", "texts", "pairs", "message"),
    [
        (of(), [""], None, "the prompt is empty"),
        (of(), ["w1", " \n"], None, "the prompt is empty"),
        (of(), ["w1"], [""], "or what it is paired with, is empty"),
        (of(), ["w1", "w2"], ["w3"], "2 texts and 1 pairs"),
        (of(), ["w1 " * 7], None, "9 tokens, the plan holds 8; .* --seq-len"),
        (of(lengths=(4, 8)), ["w1", "w1 " * 7], None, "9 tokens, the plan holds 8"),
        (of(), ["hello"], None, "cannot encode the prompt"),
        (of(("pixels",)), ["w1"], None, "'pixels' does not come from a tokenizer"),
        (of(shape=(2, 2)), ["w1"], None, r"\(2, 2, 8\) is no row of tokens for each prompt"),
        (
            of(("input_ids", "attention_mask"), shape=(1, 8)),
            ["w1"],
            None,
            r"\(1, 8, 8\) is no row of tokens for each prompt",
        ),
    ],
)
def test_what_is_refused(words, plan, texts, pairs, message):
    with pytest.raises(BadInput, match=message):
        tokenize_all(plan, texts, words, pairs)


def test_a_scalar_input_is_refused_too(words):
    plan = msgspec.structs.replace(tiny_plan(), inputs=(InputSpec("input_ids", (), "int"),))
    with pytest.raises(BadInput, match="no row of tokens"):
        tokenize(plan, "w1", words)


@pytest.mark.parametrize("data", [None, b"", b"{}", b"\xff", b'{"model": 1}'])
def test_files_that_are_no_tokenizer(tmp_path, data):
    if data is not None:
        (tmp_path / "tokenizer.json").write_bytes(data)
    with pytest.raises(BadInput, match="not a readable tokenizer"):
        tokenize(of(), "w1", tmp_path / "tokenizer.json")


def test_padding_that_a_model_reads_is_told(words, caplog):
    with caplog.at_level(logging.WARNING, "ppc"):
        tokenize(of(), "w1", words)
        tokenize(of(("input_ids",)), "w1 w2 w3 w4 w5 w6", words)
        assert not caplog.messages
        tokenize(of(("input_ids",)), "w1", words)
    assert "has no mask" in caplog.text
    assert np.all(tokenize(of(("input_ids",)), "w1", words)["input_ids"][0, 3:] == 7)
