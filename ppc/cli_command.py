"""What options of a command go together: each once, each at its own side, none that would be passed over."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import typer
from typer.core import TyperCommand

from ppc.runtime.base.errors import BadInput

OF_ROLE = {
    "server": ("--listen", "--weights", "--once"),
    "client": (
        "--connect", "--input", "--text", "--text-pair", "--text-file", "--tokenizer", "--labels", "--out",
        "--tls-ca", "--seq-len", "--prompt-len", "--ahead",
    ),
}  # fmt: skip
"""Where a command has a role, what one side alone takes."""

NOT_BOTH = (
    ("--fresh", "--store", "--fresh leaves prepared material alone, --store says where it is"),
    ("--fresh", "--ahead", "--fresh leaves prepared material alone, --ahead makes more of it"),
    ("--guard", "--no-guard", "--no-guard leaves out what --guard asks for"),
    ("--tokens", "--count", "--tokens says of several lengths what --count says of one"),
    ("--tokens", "--seq-len", "--tokens takes the lengths that a text takes, --seq-len is one"),
    ("--text", "--chat", "--text is continued, --chat is answered"),
    ("--steps", "--epochs", "--epochs says in rounds over the data what --steps says in steps"),
)

NEEDS = {
    "compile": dict.fromkeys(
        (
            "--weights",
            "--reveal",
            "--max-error",
            "--margin",
            "--network",
            "--guard",
            "--no-guard",
            "--anonymous",
        ),
        "--out",
    ),
    "generate": dict.fromkeys(("--system", "--chat-template"), "--chat"),
    "inspect": {"--simulation": "--html"},
    "prepare": {"--prompt-len": "--tokens"},
    "run": {"--text-pair": "--text"},
    "serve": dict.fromkeys(("--servers", "--server-port", "--spread-products"), "--ray"),
    "simulate": {"--text-pair": "--text"},
}
"""What a command would pass over, without saying so, where the other is not given."""


MEANT = {
    **dict.fromkeys(
        ("--length", "--max-length", "--seq-length", "--sequence", "--sequence-length", "--tokens"),
        "the prompt's length in tokens is --seq-len",
    ),
    **dict.fromkeys(("--host", "--port", "--address"), "an address is HOST:PORT, of --listen or --connect"),
    **dict.fromkeys(("--server", "--client"), "which side this is says --role"),
    **dict.fromkeys(("--output-file", "--outfile"), "where to write is --out"),
    **dict.fromkeys(("--tls", "--ssl"), "TLS is turned on by --tls-cert and --tls-key, and by --tls-ca"),
    "--batch-size": "prompts in one inference are --batch of `ppc compile`; others are run one by one",
}
"""What one may have meant by an option that there is not."""


class Command(TyperCommand):
    """One that refuses, before it does anything, what it would otherwise pass over unseen."""

    def parse_args(self, ctx: typer.Context, args: list[str]) -> list[str]:  # type: ignore[override]
        try:
            values, _, order = self.make_parser(ctx).parse_args(args=list(args))
        except Exception as fault:  # typer has a copy of click's own class
            name = getattr(fault, "option_name", None)
            if name not in MEANT:
                raise
            raise BadInput(f"there is no option {name}: {MEANT[name]}") from None
        options = [each for each in order if each.opts[0].startswith("-")]
        for each in options:
            if order.count(each) > 1 and not getattr(each, "multiple", False):
                raise BadInput(f"{_long(each)} is given {order.count(each)} times, and can be given once")
        _check(self.name or "", {_long(each) for each in options}, values.get("role"))
        return super().parse_args(ctx, args)


def _check(command: str, given: Collection[str], role: object) -> None:
    for owner, belong in OF_ROLE.items():
        for each in belong:
            if each in given and role in OF_ROLE and role != owner:
                raise BadInput(f"{each} belongs to the {owner}, and this side is the {role}")
    for one, other, why in NOT_BOTH:
        if one in given and other in given:
            raise BadInput(f"{why}; give one of them")
    for each, wanted in NEEDS.get(command, {}).items():
        if each in given and wanted not in given:
            raise BadInput(f"{each} goes with {wanted}, which is not given")


def _long(option: Any) -> str:
    """The name that says what it is: the long one, of options that have a letter too."""
    names: list[str] = option.opts
    return max(names, key=len)
