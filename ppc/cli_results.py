"""What the command line says: results on stdout and in files, everything else on stderr."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from time import monotonic

import numpy as np
from rich.console import Console
from rich.progress import (
    BarColumn,
    Progress,
    TaskID,
    TaskProgressColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

import ppc
from ppc.cli_files import STDOUT, Outputs, plain
from ppc.runtime.party.ledger import PHASES
from ppc.runtime.plan.reach import Reach
from ppc.runtime.service import report as reports
from ppc.runtime.service.labels import Guess, Labels

log = Console(stderr=True, highlight=False, soft_wrap=True)

_SHOWN = 5
"""Labels of a row, for people."""

NEAREST = 8
"""Places that are listed of those that came near to their rings; all with --json."""


def labels(file: Path | None, plan: ppc.Plan) -> Labels | None:
    """Those of ``--labels``, which an output of the plan has."""
    if file is None:
        return None
    return Labels.read(file).fitted(plan)


def say(line: str) -> None:
    log.print(line, markup=False)


def teller(output: Path | None) -> Callable[[str], None]:
    """Where lines for people go: to stdout, unless the outputs do."""
    return say if output == STDOUT else print


def mega(count: float) -> str:
    return f"{count / 1e6:.2f} MB"


_documents = 0
"""That this command has printed."""


def begin() -> None:
    """A command begins, which has printed no document yet."""
    global _documents
    _documents = 0


def print_json(document: Mapping[str, object]) -> None:
    global _documents
    print(json.dumps(document))
    _documents += 1


def answered() -> bool:
    """Whether this command has printed a document, which is then the only one."""
    return _documents > 0


def trusted(outcome: reports.Outcome) -> Outputs:
    """The outputs at the client; in place of what is not to be trusted, no numbers."""
    if outcome.left:
        return {each.name: np.full(each.shape, np.nan) for each in outcome.done.plan.outputs}
    return outcome.outputs or {}


def document(outputs: Outputs, named: Labels | None) -> dict[str, object]:
    """Outputs for JSON, with what they say where there are labels."""
    return {"outputs": plain(outputs), **({"labels": named.of(outputs)} if named else {})}


def show(outputs: Outputs, named: Labels | None, path: Path | None, *, sample: int | None = None) -> None:
    """For people: what is in a file by its shape, and what the labels say instead of their numbers."""
    said = named.of(outputs) if named else {}
    tell = teller(path)
    if sample is not None:
        tell(f"sample {sample}:")
    for name, value in outputs.items():
        if path == STDOUT:
            tell(f"{name} {value.shape}")
        elif path is not None:
            tell(f"{name} {value.shape}: written to {path}")
        elif name not in said:
            with np.printoptions(precision=5, threshold=16):
                tell(f"{name} {value.shape}: {value}")
        for row in said.get(name, ()):
            tell(f"{name}{list(row['at'])}: {', '.join(map(_guess, row['labels'][:_SHOWN]))}")


def show_headroom(near: Sequence[Reach], tell: Callable[[str], None]) -> None:
    """The places that came nearest to their rings."""
    tell("bits left     reached   of at most  nearest to their rings")
    for each in near[:NEAREST]:
        tell(f"{each.headroom:9.2f} {each.reached:11.4g} {each.limit:12.4g}  {each.name} {each.when}")


def _guess(said: Guess) -> str:
    return f"{said['label']} {said['probability']:.4f}" if "probability" in said else said["label"]


def know_this_machine() -> None:
    """Before seconds are foretold for it: it is measured where it never was, for which alone the means of
    measuring are imported."""
    from ppc.runtime.cost import rates

    if rates.wanted():
        from ppc.runtime.cost.quick import measured_once

        measured_once()


def finish(report: reports.Report) -> None:
    """What it cost, a line a phase."""
    where = report["predicted_seconds"]
    for phase in PHASES:
        got, said = report[phase], report["predicted"][phase]
        say(
            f"{phase:>8}: {got['seconds']:7.3f} s (predicted {said['seconds']:.3f} {where})  "
            f"sent {mega(got['sent'])} (predicted {mega(said['sent'])})  "
            f"received {mega(got['received'])} (predicted {mega(said['received'])})  "
            f"flights {got['flights']} (predicted {said['flights']})"
        )


SILENT = 60.0
"""Seconds after which a command that tells no terminal how far it is says so in a line."""


class Bar:
    """Progress on a terminal, with the time taken and about what is left; elsewhere a line a minute; called
    with (phase, done, total)."""

    def __init__(self) -> None:
        columns = (
            TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeElapsedColumn(),
            TextColumn("left about"), TimeRemainingColumn(),
        )  # fmt: skip
        self._progress = Progress(*columns, console=log, transient=True, disable=not log.is_terminal)
        self._tasks: dict[str, TaskID] = {}
        self._begun: dict[str, tuple[float, int]] = {}
        self._said = monotonic()

    def __enter__(self) -> Bar:
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    def __call__(self, phase: str, done: int, total: int) -> None:
        if self._progress.disable:
            self._line(phase, done, total)
            return
        if phase not in self._tasks:
            self._tasks[phase] = self._progress.add_task(phase, total=total)
        self._progress.update(self._tasks[phase], completed=done)

    def _line(self, phase: str, done: int, total: int) -> None:
        now = monotonic()
        begun, first = self._begun.setdefault(phase, (now, done))
        if now - self._said < SILENT:
            return
        self._said = now
        line = f"{phase}: {done:,} of {total:,}"
        if done > first:
            left = (now - begun) / (done - first) * (total - done)
            line += f", left about {left:.0f} s" if left < 120 else f", left about {left / 60:.0f} min"
        say(line)
