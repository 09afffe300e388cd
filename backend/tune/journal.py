"""What was decided, a line of JSON each, while it goes on."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from ppc.backend.tune.search import Decision, Round, Worth

FILE = "journal.jsonl"


class Journal:
    """In the folder ``work``, anew for each call: a run that goes on decides the same again. Without a folder
    nothing is written."""

    def __init__(self, work: Path | None) -> None:
        self._path = None if work is None else work / FILE
        if self._path is not None:
            self._path.write_text("")

    def worths(self, worths: Sequence[Worth]) -> None:
        for each in worths:
            self._line("unit", each.document())

    def round(self, found: Round) -> None:
        self._line("tuned", found.document())

    def decisions(self, decisions: Sequence[Decision]) -> None:
        for each in decisions:
            self._line("decision", each.document())

    def _line(self, event: str, document: Mapping[str, object]) -> None:
        if self._path is not None:
            with self._path.open("a") as file:
                file.write(json.dumps({"event": event, **document}) + "\n")
