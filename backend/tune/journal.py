"""What was decided, while it goes on: a line of JSON each, and a line for people."""

from __future__ import annotations

import json
import logging
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

from ppc.backend.tune.ladder import Worth
from ppc.backend.tune.search import Decision, Round

log = logging.getLogger(__name__)

FILE = "journal.jsonl"


class Journal:
    """In the folder ``work``, anew for each call: a run that goes on decides the same again. Without a folder
    it is told to people alone."""

    def __init__(self, work: Path | None) -> None:
        self._path = None if work is None else work / FILE
        if self._path is not None:
            self._path.write_text("")

    def worths(self, worths: Sequence[Worth], kept: Collection[Worth]) -> None:
        """``kept``: those that a unit may stand on."""
        for each in worths:
            log.info("%s%s", each, "" if each in kept else "; left out, its unit has better")
            self._line("rung", {**each.document(), "kept": each in kept})

    def round(self, found: Round) -> None:
        log.info("%s", found)
        self._line("tuned", found.document())

    def decisions(self, decisions: Sequence[Decision]) -> None:
        for each in decisions:
            self._line("decision", each.document())

    def _line(self, event: str, document: Mapping[str, object]) -> None:
        if self._path is not None:
            with self._path.open("a") as file:
                file.write(json.dumps({"event": event, **document}) + "\n")
