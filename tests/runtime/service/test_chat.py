"""A dialogue as the model's own template writes it, and what a template may not do."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

import pytest
from chats import CHATS, SYSTEM, TEMPLATES, TOKENS, USER

from ppc.runtime.base.errors import BadInput
from ppc.runtime.service.chat import ChatTemplate

PLACE = Path("chat_template.jinja")
ASKED = 'Who wrote <Faust> & "Egmont"?'

WRITTEN = {
    ("smollm2", "asked"): (
        "<|im_start|>system\nYou are a helpful AI assistant named SmolLM, trained by Hugging Face<|im_end|>\n"
        f"<|im_start|>user\n {ASKED} <|im_end|>\n<|im_start|>assistant\n"
    ),
    ("chatml", "told beforehand"): (
        "<|im_start|>system\nAnswer in one word.<|im_end|>\n"
        f"<|im_start|>user\n{ASKED}<|im_end|>\n<|im_start|>assistant\n"
    ),
    ("llama 2", "told beforehand"): (
        f"<s>[INST] <<SYS>>\nAnswer in one word.\n<</SYS>>\n\n {ASKED} [/INST]"
    ),
    ("llama 2", "going on"): f"<s>[INST] {ASKED} [/INST] Goethe. </s><s>[INST] Größe? [/INST]",
    ("mistral", "going on"): f"<s>[INST]  {ASKED} [/INST] Goethe.</s>[INST] Größe?[/INST]",
    ("llama 3", "asked"): (
        f"<s><|start_header_id|>user<|end_header_id|>\n\nYear: {datetime.now().year}\n\n{ASKED}<|eot_id|>"
        "<|start_header_id|>assistant<|end_header_id|>\n\n"
    ),
    ("unusual", "told beforehand"): (
        '{\n "role": "user",\n "content": " Who wrote <Faust> & \\"Egmont\\"? "\n}user'
    ),
}  # fmt: skip


def written(name: str, chat: str) -> str:
    return ChatTemplate(TEMPLATES[name], PLACE, TOKENS).prompt(CHATS[chat])


@pytest.mark.parametrize(("name", "chat"), WRITTEN)
def test_what_templates_of_several_families_write(name: str, chat: str) -> None:
    assert written(name, chat) == WRITTEN[name, chat]


@pytest.mark.long
@pytest.mark.parametrize("chat", CHATS)
@pytest.mark.parametrize("name", TEMPLATES)
def test_transformers_writes_the_same(name: str, chat: str) -> None:
    theirs = pytest.importorskip("transformers.utils.chat_template_utils").render_jinja_template
    try:
        (wanted,), _ = theirs(
            [CHATS[chat]], chat_template=TEMPLATES[name], add_generation_prompt=True, **TOKENS
        )
    except Exception as refusal:
        with pytest.raises(BadInput, match=str(refusal)):
            written(name, chat)
    else:
        assert written(name, chat) == wanted


def test_what_a_template_refuses_is_said_in_its_words() -> None:
    with pytest.raises(BadInput, match=r"chat_template.jinja: .* this chat: System role not supported"):
        written("gemma", "told beforehand")
    with pytest.raises(BadInput, match="roles must alternate"):
        ChatTemplate(TEMPLATES["llama 2"], PLACE, TOKENS).prompt([USER, USER])


@pytest.mark.parametrize(
    ("source", "why"),
    [
        ("{% for x in %}", r"not a chat template: .* \(line 1\)"),
        ("\n{{ messages", r"not a chat template: .* \(line 2\)"),
        ("{{ messages[0].nothing.more }}", "does not take this chat"),
        ("{{ messages[0].content + 1 }}", "the template fails: "),
        ("{{ 1 // 0 }}", "the template fails: "),
    ],
)
def test_a_template_with_a_fault_is_named(source: str, why: str) -> None:
    with pytest.raises(BadInput, match=f"^{PLACE}: {why}|^{PLACE}: the template {why}"):
        ChatTemplate(source, PLACE, TOKENS).prompt([USER])


@pytest.mark.parametrize(
    "source",
    [
        "{{ messages.append(1) }}",
        "{{ messages[0].update(content='other') }}",
        "{{ ''.__class__.__mro__ }}",
        "{{ raise_exception.__globals__['json'] }}",
        "{{ ''.__class__.__base__.__subclasses__() }}",
        "{% include '/etc/hostname' %}",
        "{{ range(10000000) | list }}",
    ],
)
def test_a_template_gets_at_nothing_and_changes_nothing(source: str) -> None:
    messages = [dict(USER)]
    with pytest.raises(BadInput):
        ChatTemplate(source, PLACE, TOKENS).prompt(messages)
    assert messages == [USER]


@pytest.mark.parametrize(
    ("messages", "why"),
    [
        ([], "at least one message"),
        ([SYSTEM, {"role": "user"}], "a role and a content, both texts, not role"),
        ([{"role": "user", "content": 3}], "both texts"),
    ],
)
def test_what_is_no_chat(messages: list[dict[str, str]], why: str) -> None:
    with pytest.raises(BadInput, match=why):
        ChatTemplate(TEMPLATES["chatml"], PLACE, TOKENS).prompt(messages)
