"""What transformers saves beside a tokenizer.json: special tokens, ends of texts, and how a chat is written.

tokenizer_config.json     bos_token, eos_token, …; chat_template, one or several by name
chat_template.jinja       the template, where it has a file of its own
generation_config.json    eos_token_id, one or several; config.json: the same
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from ..base.errors import BadInput

SPECIAL = ("bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token")
"""What a template may call a token by."""


def special_tokens(folder: Path) -> dict[str, str]:
    """The tokens of `SPECIAL` that its files name."""
    found = _read(folder / "special_tokens_map.json") | _read(folder / "tokenizer_config.json")
    texts = {name: _content(found.get(name)) for name in SPECIAL}
    return {name: text for name, text in texts.items() if text is not None}


def ends(folder: Path) -> tuple[str | int, ...]:
    """The tokens that end a text, by name or id, by the word of any of its files."""
    found: list[str | int] = []
    for name in ("generation_config.json", "config.json"):
        told = _read(folder / name).get("eos_token_id")
        found += [each for each in (told if isinstance(told, list) else [told]) if isinstance(each, int)]
    eos = special_tokens(folder).get("eos_token")
    return tuple(dict.fromkeys([*found, *([] if eos is None else [eos])]))


def chat_template(folder: Path) -> tuple[str, Path]:
    """The source of the model's template and the file that has it. Raises BadInput where none does."""
    own, config = folder / "chat_template.jinja", folder / "tokenizer_config.json"
    if own.is_file():
        return read_template(own), own
    told = _read(config).get("chat_template")
    if isinstance(told, list):  # of several, each with its name
        named = {each.get("name"): each.get("template") for each in told if isinstance(each, Mapping)}
        told = named.get("default")
    if not isinstance(told, str):
        raise BadInput(
            f"{folder} has no chat template, neither {own.name} nor chat_template in {config.name}; "
            "give --chat-template FILE"
        )
    return told, config


def read_template(path: Path) -> str:
    """Raises BadInput for a file that is no text."""
    try:
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise BadInput(f"{path}: cannot be read: {error.strerror or error}") from None
    except UnicodeDecodeError as error:
        raise BadInput(f"{path}: not a chat template, which is text: {error}") from None


def _content(token: object) -> str | None:
    """A token's text, which stands alone or among its properties."""
    text = token.get("content") if isinstance(token, Mapping) else token
    return text if isinstance(text, str) else None


def _read(path: Path) -> dict[str, object]:
    """The document; nothing where there is no such file. Raises BadInput for one that is no JSON object."""
    if not path.is_file():
        return {}
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise BadInput(f"{path}: cannot be read: {error.strerror or error}") from None
    except (ValueError, RecursionError) as error:
        raise BadInput(f"{path}: not JSON: {error}") from None
    if not isinstance(document, dict):
        raise BadInput(f"{path}: a JSON object is wanted")
    return document
