"""A dialogue as one prompt, by the model's own template: what transformers' `apply_chat_template` writes.

A template is a program in Jinja. It may come from anyone, so it runs in Jinja's sandbox, where it changes
nothing and sees the messages and the special tokens alone.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import NoReturn

from ..base.errors import BadInput
from ..base.extras import needs

needs("chat", "a chat template", "jinja2")

from jinja2 import TemplateError, TemplateSyntaxError, nodes  # noqa: E402
from jinja2.ext import Extension, loopcontrols  # noqa: E402
from jinja2.parser import Parser  # noqa: E402
from jinja2.sandbox import ImmutableSandboxedEnvironment  # noqa: E402

Message = Mapping[str, str]
"""``role``, of which templates know system, user and assistant, and ``content``."""


class ChatTemplate:
    """A template of the file ``path``, which may read the special ``tokens`` by name.

    Raises BadInput for what is no template.
    """

    def __init__(self, source: str, path: Path, tokens: Mapping[str, str]) -> None:
        self._path, self._tokens = path, tokens
        try:
            self._template = _environment().from_string(source)
        except TemplateSyntaxError as error:
            raise BadInput(f"{path}: not a chat template: {error.message} (line {error.lineno})") from None

    def prompt(self, messages: Sequence[Message]) -> str:
        """The text that the assistant's next message continues.

        Raises BadInput where there is no message, where one lacks role or content, and for whatever the
        template does not take: a role or an order that the model was not trained on.
        """
        if not messages:
            raise BadInput("a chat has at least one message")
        for each in messages:
            if not all(isinstance(each.get(key), str) for key in ("role", "content")):
                raise BadInput(f"a message has a role and a content, both texts, not {', '.join(each)}")
        try:
            return self._template.render(
                messages=[dict(each) for each in messages],
                tools=None,
                documents=None,
                add_generation_prompt=True,
                **self._tokens,
            )
        except TemplateError as error:
            raise BadInput(f"{self._path}: the template does not take this chat: {error}") from None
        except Exception as error:  # of whatever class its expressions raise
            raise BadInput(f"{self._path}: the template fails: {error}") from None


class _Generation(Extension):
    """``{% generation %}`` marks what the assistant says, for training; here it is what stands within."""

    tags = {"generation"}  # noqa: RUF012

    def parse(self, parser: Parser) -> nodes.Node:
        line = next(parser.stream).lineno
        within = parser.parse_statements(("name:endgeneration",), drop_needle=True)
        return nodes.Scope(within).set_lineno(line)


def _environment() -> ImmutableSandboxedEnvironment:
    """What transformers gives a template, in names and in how blanks around blocks are read."""
    made = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[_Generation, loopcontrols]
    )
    made.filters["tojson"] = _to_json
    made.globals["raise_exception"] = _refuse
    made.globals["strftime_now"] = _now
    return made


def _refuse(reason: str) -> NoReturn:
    raise TemplateError(reason)


def _to_json(
    value: object,
    ensure_ascii: bool = False,
    indent: int | None = None,
    separators: tuple[str, str] | None = None,
    sort_keys: bool = False,
) -> str:
    """Jinja's own writes < and > for HTML."""
    return json.dumps(
        value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys
    )


def _now(form: str) -> str:
    return datetime.now().strftime(form)
