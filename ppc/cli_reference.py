"""docs/commands.md: every command, argument and option, as the command line itself has them."""

from __future__ import annotations

import textwrap
import types
from enum import Enum
from pathlib import Path
from typing import Annotated, Any, Union, get_args, get_origin, get_type_hints

from typer.main import get_command

from ppc.cli import app
from ppc.cli_command import NEEDS, NOT_BOTH, OF_ROLE

KINDS: dict[type, str] = {Path: "FILE", int: "N", float: "NUMBER", str: "TEXT"}
"""What stands for a value of each type."""

HEAD = """\
# Commands

Made by `ppc/cli_reference.py`; regenerate with `PPC_UPDATE=1 pytest tests/e2e/test_cli_reference.py`.
This is what `ppc COMMAND -h` says, on one page. What to do with it stands in the pages
[by task](README.md); words are explained in the [glossary](glossary.md).
"""

TAIL = """\
## What holds for every command

Results go to standard output. Logs, and progress with about what time is left, go to standard error.
`--json` prints one document on standard output, of a fault too:
`{"error": {"status": …, "kind": …, "message": …}}`. `-h` explains a command, `ppc --version` names the
release, `ppc --install-completion` completes commands in your shell.

An option that takes one value is given once. One that would be passed over – the other side's, or
without what it goes with – is refused. A file is written whole or not at all, and one that cannot be
written is refused before any work. `-` is standard output where a file is written, and standard input
where a text is read.

| exit status | means |
| --- | --- |
| 0 | done |
| 2 | wrong usage, or an input that does not fit |
| 3 | the model cannot be compiled; the message names the node |
| 4 | the peer or the plan does not match |
| 5 | the network: the peer went away, never came, or told to come again |
| 6 | a value left its range, or accuracy was missed |
| 130 | stopped by Ctrl-C; `ppc serve` lets what runs end, with 0 |

| environment | means |
| --- | --- |
| `PPC_RATES=reference` | predict the reference machine's seconds, and never measure this one |
| `TMPDIR` | the folder of what `--memory` leaves no room for, encrypted; default `/var/tmp` |
| `XDG_CACHE_HOME` | the folder of this machine's rates, as measured in a second; default `~/.cache` |
| `XDG_CONFIG_HOME` | the folder of what `ppc bench --calibrate` keeps; default `~/.config` |

| file | holds | belongs to |
| --- | --- | --- |
| `PLAN`, as `plan.bin` | the public protocol of a model | everyone |
| `.weights` beside it | the model's numbers | the server alone |
| `.prepared` beside it, a folder | prepared inferences, each used once | each side its own |
"""


def markdown() -> str:
    """The page."""
    commands: dict[str, Any] = get_command(app).commands  # type: ignore[attr-defined]
    functions = {each.name: each.callback for each in app.registered_commands}
    parts = [HEAD]
    for name, command in commands.items():
        parts.append(_section(name, command, get_type_hints(functions[name], include_extras=True)))
    return "\n".join([*parts, TAIL])


def _section(name: str, command: Any, hints: dict[str, Any]) -> str:
    options = [each for each in command.params if each.param_type_name == "option"]
    places = [each for each in command.params if each.param_type_name == "argument"]
    needed = [f"{_long(each)} {_value(hints[each.name])}" for each in options if each.required]
    usage = " ".join(["ppc", name, *map(_place, places), *needed, "[OPTIONS]"])
    rows = [(f"`{_place(each)}`", each.help, "") for each in places]
    rows += [_row(name, each, hints[each.name]) for each in options]
    known = {_long(each) for each in options}
    refused = [f"{why}: give one of them." for one, other, why in NOT_BOTH if {one, other} <= known]
    lines = [f"## ppc {name}", "", f"    {usage}", ""]
    lines += [line for told in command.help.split("\n\n") for line in (*textwrap.wrap(told, 118), "")]
    lines += ["| option | what it does | default |", "| --- | --- | --- |"]
    lines += [f"| {' | '.join(row)} |" for row in rows]
    return "\n".join([*lines, *(["", *refused] if refused else []), ""])


def _place(argument: Any) -> str:
    return str(argument.metavar or argument.name.upper())


def _row(command: str, option: Any, hint: Any) -> tuple[str, str, str]:
    """How the option is given, what it does, and what holds without it."""
    long, value = _long(option), _value(hint)
    names = ", ".join(f"`{each}`" for each in sorted(option.opts, key=len))
    side = next((role for role, belong in OF_ROLE.items() if long in belong), "")
    goes = NEEDS.get(command, {}).get(long)
    what = option.help.strip()
    if side and command in ("run", "prepare") and not what.startswith(f"{side}:"):
        what = f"{side}: {what}"
    more = [*(["May be repeated."] if option.multiple and "repeated" not in what else [])]
    more += [f"Goes with `{goes}`."] if goes else []
    told = " ".join([what if what.endswith((".", ";")) or not more else f"{what}.", *more])
    return (f"{names} {value}".strip(), told.replace("|", "\\|"), _default(option, what))


def _default(option: Any, what: str) -> str:
    """The value; nothing where the help tells it in words, which then may depend on the machine."""
    if option.required:
        return "needed"
    default = option.default
    if "efault" in what or default is None or default is False or default == ():
        return ""
    return f"`{default:g}`" if isinstance(default, float) else f"`{default}`"


def _long(option: Any) -> str:
    names: list[str] = option.opts
    return max(names, key=len)


def _value(hint: Any) -> str:
    """What the value of an option is, by its type; nothing for a flag."""
    while get_origin(hint) in (Annotated, Union, types.UnionType, list):
        hint = next(each for each in get_args(hint) if each is not type(None))
    if hint is bool:
        return ""
    if issubclass(hint, Enum):
        return " or ".join(each.value for each in hint)
    return KINDS[hint]
