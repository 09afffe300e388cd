"""docs/commands.md is made of the command line, and leaves nothing of it out."""

from __future__ import annotations

import os
import re

import pytest
from small import ROOT
from typer.main import get_command

from ppc.cli import app
from ppc.cli_reference import TAIL, markdown
from ppc.runtime.base.errors import Error

DOCUMENT = ROOT / "docs" / "commands.md"
COMMANDS = get_command(app).commands


def test_the_document_is_what_the_command_line_says() -> None:
    if os.environ.get("PPC_UPDATE"):
        DOCUMENT.write_text(markdown())
    assert DOCUMENT.read_text() == markdown()


@pytest.mark.parametrize("name", COMMANDS)
def test_every_option_has_its_row(name: str) -> None:
    (section,) = re.findall(rf"^## ppc {name}\n(.*?)(?=^## )", markdown(), re.DOTALL | re.MULTILINE)
    for each in COMMANDS[name].params:
        shown = each.opts if each.param_type_name == "option" else [each.metavar or each.name.upper()]
        assert all(f"`{opt}`" in section for opt in shown), each.name


def test_no_default_depends_on_the_machine() -> None:
    assert "| `--at-once` N | Inferences that run at the same time; default two a core. |  |" in markdown()


def test_what_goes_with_what_is_told() -> None:
    text = markdown()
    assert "| `--once` | server: stop after one inference |  |" in text
    assert "Leave that out. Goes with `--out`." in text
    assert "--fresh leaves prepared material alone, --store says where it is: give one of them." in text


def statuses(kind: type[Error]) -> set[int]:
    return {kind.exit_status}.union(*map(statuses, kind.__subclasses__()))


def test_every_exit_status_is_explained() -> None:
    import ppc.frontend.errors  # noqa: F401  those of models

    told = {int(found) for found in re.findall(r"^\| (\d+) \|", TAIL, re.MULTILINE)}
    assert statuses(Error) - {Error.exit_status} <= told
