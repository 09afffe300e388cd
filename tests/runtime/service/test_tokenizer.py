"""A model's tokenizer with the files beside it: chats as tokens, tokens as text, and where a text ends."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
from chats import CHATML, CHATS, MISTRAL, SMOLLM2, TEMPLATES, TOKENS, USER, configured, spelling

import ppc
from ppc.runtime.base.errors import BadInput

SIGNS = ("<|im_start|>", "<|im_end|>")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return spelling(tmp_path, *SIGNS)


def ids(folder: Path, text: str) -> list[int]:
    """Without what the tokenizer would set before it."""
    return ppc.Tokenizer(folder).encode(text)[1:]


def test_a_chat_is_what_its_template_writes_and_nothing_besides(folder: Path) -> None:
    tokenizer = ppc.Tokenizer(configured(folder, chat_template=CHATML, **TOKENS))
    found = tokenizer.chat([{"role": "user", "content": "Hi"}])
    assert found == ids(folder, "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n")
    assert found.count(ids(folder, "<|im_start|>")[0]) == 2  # one token, not its letters
    assert tokenizer.decode(found).endswith("assistant\n")


def test_special_tokens_may_be_written_with_their_properties(folder: Path) -> None:
    (folder / "special_tokens_map.json").write_text(json.dumps({"bos_token": {"content": "<s>"}}))
    configured(folder, chat_template=MISTRAL, eos_token={"content": "</s>", "lstrip": False})
    assert ppc.Tokenizer(folder).chat(CHATS["going on"])[0] == ppc.Tokenizer(folder).encode("x")[0]


def test_where_a_template_is_found(folder: Path, tmp_path: Path) -> None:
    def starts(**given: Path) -> str:
        tokenizer = ppc.Tokenizer(folder / "tokenizer.json", **given)
        return tokenizer.decode(tokenizer.chat([USER]))[:5]

    with pytest.raises(BadInput, match=r"has no chat template, neither .* give --chat-template FILE"):
        starts()
    several = [{"name": "tool_use", "template": "tools"}, {"name": "default", "template": "among several"}]
    configured(folder, chat_template=several)
    assert starts() == "among"
    configured(folder, chat_template="in the configuration")
    assert starts() == "in th"
    (folder / "chat_template.jinja").write_text("a file of its own")
    assert starts() == "a fil"
    (tmp_path / "other").write_text("another")
    assert starts(chat_template=tmp_path / "other") == "anoth"


def test_a_template_for_a_tokenizer_that_is_no_file(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A model of the hub, of which nothing but its tokenizer is fetched: what lies here is not its own."""
    from tokenizers import Tokenizer

    monkeypatch.setattr(
        Tokenizer, "from_pretrained", lambda name: Tokenizer.from_file(str(folder / "tokenizer.json"))
    )
    monkeypatch.chdir(configured(folder, chat_template="of another", eos_token="A"))
    tokenizer = ppc.Tokenizer("gpt2")
    with pytest.raises(BadInput, match=r"gpt2 is no file .* give --chat-template FILE"):
        tokenizer.chat([USER])
    assert ids(folder, "A")[0] not in tokenizer.stops()
    (folder / "own.jinja").write_text("its own")
    own = ppc.Tokenizer("gpt2", chat_template="own.jinja")
    assert own.decode(own.chat([USER])) == "its own"


def test_a_text_ends_where_any_file_says_so(folder: Path) -> None:
    def stops() -> set[str]:
        tokenizer = ppc.Tokenizer(folder)
        return {tokenizer.decode([each]) for each in tokenizer.stops()}

    assert stops() == {"<|im_end|>", "</s>"}
    configured(folder, eos_token="<s>")
    assert stops() == {"<|im_end|>", "</s>", "<s>"}
    (folder / "config.json").write_text(json.dumps({"eos_token_id": ids(folder, "A")[0]}))
    assert stops() == {"<|im_end|>", "</s>", "<s>", "A"}
    (folder / "generation_config.json").write_text(json.dumps({"eos_token_id": ids(folder, "BC")}))
    assert stops() == {"<|im_end|>", "</s>", "<s>", "A", "B", "C"}
    (folder / "config.json").write_text(json.dumps({"eos_token_id": None}))
    assert stops() == {"<|im_end|>", "</s>", "<s>", "B", "C"}


def test_what_is_asked_for_alone_stops_where_it_is_asked_for(folder: Path) -> None:
    tokenizer = ppc.Tokenizer(folder)
    assert tokenizer.stops(["<|im_start|>"]) == set(ids(folder, "<|im_start|>"))
    assert tokenizer.stops([]) == frozenset()
    with pytest.raises(BadInput, match="has no token '<none>'"):
        tokenizer.stops(["<none>"])


@pytest.mark.parametrize(
    ("name", "data", "why"),
    [
        ("tokenizer_config.json", b"[]", "a JSON object is wanted"),
        ("tokenizer_config.json", b"{", "not JSON"),
        ("tokenizer_config.json", b"\xff", "not JSON"),
        ("chat_template.jinja", b"\xff", "not a chat template, which is text"),
    ],
)
def test_files_that_are_none(folder: Path, name: str, data: bytes, why: str) -> None:
    (folder / name).write_bytes(data)
    with pytest.raises(BadInput, match=f"{name}: {why}"):
        ppc.Tokenizer(folder).chat([USER])


def test_a_template_that_is_not_there(folder: Path) -> None:
    with pytest.raises(BadInput, match=r"nowhere.jinja: cannot be read: No such file"):
        ppc.Tokenizer(folder, chat_template=folder / "nowhere.jinja").chat([USER])


def test_without_jinja_a_chat_is_refused_in_a_line(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    configured(folder, chat_template=SMOLLM2)
    monkeypatch.setitem(sys.modules, "jinja2", None)
    monkeypatch.delitem(sys.modules, "ppc.runtime.service.chat", raising=False)
    with pytest.raises(BadInput, match=r"needs jinja2 .*ppc\[chat\]"):
        ppc.Tokenizer(folder).chat([USER])


@pytest.mark.long
@pytest.mark.parametrize("name", TEMPLATES)
def test_transformers_finds_the_same_tokens(folder: Path, name: str) -> None:
    transformers = pytest.importorskip("transformers")
    configured(folder, tokenizer_class="PreTrainedTokenizerFast", chat_template=TEMPLATES[name], **TOKENS)
    theirs = transformers.AutoTokenizer.from_pretrained(folder)
    wanted = theirs.apply_chat_template([USER], add_generation_prompt=True, return_dict=False)
    assert ppc.Tokenizer(folder).chat([USER]) == wanted
    assert theirs.eos_token_id in ppc.Tokenizer(folder).stops()
