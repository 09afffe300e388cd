"""A model's own tokenizer: text or a dialogue as the tokens of a prompt, and what comes of it as text."""

from __future__ import annotations

import logging
import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ..base.errors import BadInput
from . import pretrained

if TYPE_CHECKING:
    import tokenizers

    from .chat import Message

log = logging.getLogger(__name__)

ENDS = ("<|im_end|>", "<|endoftext|>", "</s>", "<eos>", "<|eot_id|>", "<end_of_turn>")
"""Tokens that end a text, in tokenizers of several families."""


class Tokenizer:
    """Of a tokenizer.json or of the folder that holds one; what transformers has saved beside it is read too.

    ``chat_template``: a file with the template of chats, by default the model's own.

    Raises BadInput for a file that is none.
    """

    def __init__(self, path: str | Path, *, chat_template: str | Path | None = None) -> None:
        self._path = Path(path)
        self._tokenizer = load_tokenizer(self._path)
        self._chat_template = None if chat_template is None else Path(chat_template)

    def encode(self, text: str) -> list[int]:
        """The tokens of a prompt. Raises BadInput where there are none."""
        return list(encoding(self._tokenizer, text, None).ids)

    def chat(self, messages: Sequence[Message]) -> list[int]:
        """The tokens that the assistant's answer to ``messages`` follows.

        Raises BadInput where the model has no template or it does not take them (`chat.ChatTemplate`).
        """
        from .chat import ChatTemplate

        folder = self._folder()
        if self._chat_template is not None:
            source, path = pretrained.read_template(self._chat_template), self._chat_template
        elif folder is not None:
            source, path = pretrained.chat_template(folder)
        else:
            raise BadInput(f"{self._path} is no file beside which a template lies; give --chat-template FILE")
        template = ChatTemplate(source, path, pretrained.special_tokens(folder) if folder else {})
        # the template has written what a tokenizer would add
        return list(encoding(self._tokenizer, template.prompt(messages), None, special=False).ids)

    def decode(self, ids: Sequence[int]) -> str:
        """What they spell, but for a last character of which bytes are to come."""
        return str(self._tokenizer.decode(list(ids), skip_special_tokens=False)).rstrip("\ufffd")

    def stops(self, tokens: Sequence[str] | None = None) -> frozenset[int]:
        """The ids of these, or else of all that end a text: those of `ENDS` that it has, and what the model's
        files say. Raises BadInput for one that it does not have."""
        if tokens is None:
            folder = self._folder()
            told = (*ENDS, *(pretrained.ends(folder) if folder else ()))
        else:
            told = tuple(tokens)
        ids = {each: self._tokenizer.token_to_id(each) if isinstance(each, str) else each for each in told}
        for token, id in ids.items():
            if id is None and tokens is not None:
                raise BadInput(f"{self._path} has no token {token!r} to stop at")
        return frozenset(id for id in ids.values() if id is not None)

    def _folder(self) -> Path | None:
        """Where its files are; None for a model of the hub."""
        return self._path if self._path.is_dir() else self._path.parent if self._path.exists() else None


_HUB = re.compile(r"[\w.-]+(/[\w.-]+)?(?<!\.json)")
"""What models on the Hugging Face hub are called."""


def load_tokenizer(path: Path) -> tokenizers.Tokenizer:
    """Of a file, of the folder that holds one, or by a model's name on the hub where neither is there.

    Neither cuts nor pads. Raises BadInput for a file that is none.
    """
    from tokenizers import Tokenizer

    file = path / "tokenizer.json" if path.is_dir() else path
    fetched = not file.exists() and _HUB.fullmatch(str(path)) is not None
    if fetched:
        log.info("fetching the tokenizer of %s from the Hugging Face hub", path)
    try:
        loaded = Tokenizer.from_pretrained(str(path)) if fetched else Tokenizer.from_file(str(file))
    except Exception as error:  # the library raises bare Exception
        if fetched:
            why = str(error).partition("\n")[0]
            raise BadInput(
                f"{path}: no such file, and the Hugging Face hub gives no tokenizer: {why}"
            ) from None
        raise BadInput(f"{file}: not a readable tokenizer.json: {error}") from None
    loaded.no_truncation()
    loaded.no_padding()
    return loaded


def encoding(
    tokenizer: tokenizers.Tokenizer, text: str, pair: str | None, *, special: bool = True
) -> tokenizers.Encoding:
    """A prompt's tokens, with those that the tokenizer sets around it if ``special``.

    Raises BadInput for a prompt without any.
    """
    if not text.strip() or (pair is not None and not pair.strip()):
        raise BadInput(
            "the prompt is empty" if pair is None else "the prompt, or what it is paired with, is empty"
        )
    try:
        found = tokenizer.encode(text, pair, add_special_tokens=special)
    except Exception as error:  # a vocabulary without a token for what it does not know, for one
        raise BadInput(f"the tokenizer cannot encode the prompt: {error}") from None
    if not found.ids:
        raise BadInput("the tokenizer finds no token in the prompt")
    return found
