"""What `make chat` keeps, and how it judges an answer. Its model's package is there where it has run once."""

from __future__ import annotations

import numpy as np
import pytest
from chats import configured, spelling
from decoder import PROMPT

pytest.importorskip("gguf")

from models import chat
from ppc import Tokenizer


@pytest.fixture
def compilations(tmp_path, monkeypatch):
    """The times that the plan is made, and what is run for it; nothing is."""
    (tmp_path / "weights").write_bytes(b"1")
    made = []

    def command(*args):
        made.append(args)
        (tmp_path / "plan.bin").touch()
        return ""

    monkeypatch.setattr(chat, "weights", lambda: tmp_path / "weights")
    for name in ("Gguf", "with_past", "save_tokenizer", "Tokenizer"):
        monkeypatch.setattr(chat, name, lambda *args: None)
    monkeypatch.setattr(chat.onnx, "save", lambda *args: None)
    monkeypatch.setattr(chat, "chats", lambda *args: {})
    monkeypatch.setattr(chat, "ppc", command)
    return made


def test_the_plan_is_made_again_only_if_what_it_is_made_of_is_another(compilations, tmp_path, monkeypatch):
    for prompt, times in ((32, 1), (32, 1), (48, 2)):
        chat.compiled(tmp_path, prompt)
        assert len(compilations) == times
    (tmp_path / "weights").write_bytes(b"2")
    chat.compiled(tmp_path, 48)
    assert len(compilations) == 3
    monkeypatch.setattr(chat, "VERSION", chat.VERSION + 1)
    chat.compiled(tmp_path, 48)
    assert len(compilations) == 4


def test_a_plan_that_was_not_finished_is_made_again(compilations, tmp_path, monkeypatch):
    with monkeypatch.context() as patched:
        patched.setattr(chat, "ppc", lambda *args: exit(1))
        with pytest.raises(SystemExit):
            chat.compiled(tmp_path, 32)
    chat.compiled(tmp_path, 32)
    assert len(compilations) == 1


def test_chats_are_inputs_of_the_models_own_shape(tmp_path):
    brief = "{% for each in messages %}{{ each.content }}{% endfor %}"
    tokenizer = Tokenizer(configured(spelling(tmp_path), chat_template=brief))
    made = chat.chats(tokenizer, 40)
    assert {value.shape for value in made.values()} == {(len(made["input_ids"]), 1, 40)}
    first = made["input_ids"][0, 0]
    assert tokenizer.decode(list(first)).startswith("What is the capital of Italy?")
    assert np.array_equal(made["attention_mask"], made["input_ids"] > 0)


def test_an_answer_is_onnx_runtimes_or_nearly(decoder, capsys):
    said = decoder.greedy(PROMPT, 4)
    assert chat.compare(decoder.model, PROMPT, said)
    assert "4 of 4 tokens" in capsys.readouterr().out
    logits = decoder.logits(PROMPT)
    worst = int(logits.argmin())
    assert not chat.compare(decoder.model, PROMPT, [worst])
    assert "token 1 is another" in capsys.readouterr().out
