"""What an operator copies calls the command as it is."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import typer
from typer.main import get_command

from ppc.cli import app
from ppc.runtime.service.host import DRAIN_SECONDS

DEPLOY = Path(__file__).parent.parent / "deploy"
UNIT, CONTAINER = (DEPLOY / name for name in ("ppc.service", "Containerfile"))


def words_of_unit() -> list[str]:
    command = re.search(r"^ExecStart=((?:.*\\\n)*.*)$", UNIT.read_text(), re.MULTILINE)
    assert command is not None
    return command[1].replace("\\\n", " ").split()


def words_of_container() -> list[str]:
    text = CONTAINER.read_text().replace("\\\n", " ")
    return [
        word
        for part in ("ENTRYPOINT", "CMD")
        for word in json.loads(re.findall(rf"^{part} (.*)$", text, re.M)[0])
    ]


@pytest.mark.parametrize("words", [words_of_unit(), words_of_container()], ids=["unit", "container"])
def test_the_command_takes_what_it_is_given(words):
    program, verb, *rest = words
    assert program.endswith("ppc")
    command = get_command(app).get_command(typer.Context(get_command(app)), verb)
    given = command.make_context(verb, rest).params
    assert [str(plan) for plan in given["plans"]] == ["/etc/ppc/plan.bin"]
    assert given["status"] == "127.0.0.1:7767"


def test_what_runs_is_given_the_time_that_the_service_gives_it():
    stop = re.search(r"^TimeoutStopSec=(\d+)$", UNIT.read_text(), re.MULTILINE)
    assert stop is not None
    assert int(stop[1]) > DRAIN_SECONDS
    assert f"--stop-timeout {stop[1]}" in CONTAINER.read_text()
