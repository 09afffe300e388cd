"""Who may ask, and how often a day: an allow list with quotas in SQLite, which several processes may share.

Repeated queries reconstruct a model, so what is counted is what tells something of it: inferences, each when
its turn comes and before anything of it is said, whatever becomes of it. Days are UTC's.
"""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import NamedTuple, Protocol

from ..base.errors import BadInput
from ..net.frame import Notice, Told
from .gate import TurnedAway

SCHEMA = """
CREATE TABLE IF NOT EXISTS clients (name TEXT PRIMARY KEY, per_day INTEGER);
CREATE TABLE IF NOT EXISTS asked (name TEXT, day TEXT, count INTEGER NOT NULL, PRIMARY KEY (name, day));
"""

WAIT_SECONDS = 10.0
"""For another process that writes."""


class Client(NamedTuple):
    """One that is allowed: inferences a day, None where any number, and those of today."""

    name: str
    per_day: int | None
    today: int


class Listed(Protocol):
    """Of a `Register`, here or elsewhere, what a service asks."""

    def known(self, name: str | None) -> object: ...
    def count(self, name: str | None) -> None: ...


def _now() -> datetime:
    return datetime.now(timezone.utc)


class Register:
    """The file ``path``. BadInput where it is not there and not to be made, or is none of ours."""

    def __init__(self, path: Path, *, create: bool = False, now: Callable[[], datetime] = _now) -> None:
        if not create and not path.is_file():
            raise BadInput(f"{path}: no such register; make it with ppc clients {path} --allow NAME")
        self._path = path
        self._now = now
        self._lock = threading.Lock()  # one connection for all threads
        with self._faults():
            self._base = sqlite3.connect(
                path, timeout=WAIT_SECONDS, isolation_level=None, check_same_thread=False
            )
            self._base.executescript(SCHEMA)

    def __enter__(self) -> Register:
        return self

    def __exit__(self, *_: object) -> None:
        self._base.close()

    def __repr__(self) -> str:
        return f"Register({self._path})"

    def allow(self, name: str, per_day: int | None) -> None:
        with self._changing():
            self._base.execute("INSERT OR REPLACE INTO clients VALUES (?, ?)", (name, per_day))

    def remove(self, name: str) -> None:
        """BadInput where it is not allowed anyway."""
        with self._changing():
            if not self._base.execute("DELETE FROM clients WHERE name = ?", (name,)).rowcount:
                raise BadInput(f"{self._path}: holds no client {name!r}")

    def clients(self) -> list[Client]:
        """All that are allowed, by name."""
        with self._lock, self._faults():
            rows = self._base.execute(
                "SELECT clients.name, per_day, coalesce(count, 0) FROM clients"
                " LEFT JOIN asked ON asked.name = clients.name AND day = ? ORDER BY clients.name",
                (self._today(),),
            ).fetchall()
        return [Client(*row) for row in rows]

    def known(self, name: str | None) -> int | None:
        """How many inferences a day this client may have, None where any number. TurnedAway where none."""
        with self._lock, self._faults():
            return self._per_day(name)

    def count(self, name: str | None) -> None:
        """One more inference of this client. TurnedAway where it may not, or has had all of its day."""
        day = self._today()
        with self._changing():
            per_day = self._per_day(name)
            self._base.execute(
                "INSERT INTO asked VALUES (?, ?, 1) ON CONFLICT DO UPDATE SET count = count + 1", (name, day)
            )
            asked = "SELECT count FROM asked WHERE name = ? AND day = ?"
            (done,) = self._base.execute(asked, (name, day)).fetchone()
            if per_day is not None and done > per_day:
                why = f"quota: {name} has had its {per_day} of {day}"
                raise TurnedAway(why, Notice(Told.QUOTA, self._left()))

    def _per_day(self, name: str | None) -> int | None:
        row = self._base.execute("SELECT per_day FROM clients WHERE name = ?", (name,)).fetchone()
        if row is None:
            why = f"unknown: {name or 'a client without a name'} is not on the list"
            raise TurnedAway(why, Notice(Told.UNKNOWN))
        per_day: int | None = row[0]
        return per_day

    def _today(self) -> str:
        return f"{self._now():%Y-%m-%d}"

    def _left(self) -> int:
        """Seconds of the day."""
        now = self._now()
        midnight = now.replace(hour=0, minute=0, second=0, microsecond=0) + timedelta(days=1)
        return int((midnight - now).total_seconds()) + 1

    @contextmanager
    def _changing(self) -> Iterator[None]:
        """A transaction, which nobody else's comes between; undone by a fault."""
        with self._lock, self._faults():
            self._base.execute("BEGIN IMMEDIATE")
            try:
                yield
            except BaseException:
                self._base.execute("ROLLBACK")
                raise
            self._base.execute("COMMIT")

    @contextmanager
    def _faults(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            raise BadInput(f"{self._path}: the register cannot be used: {error}") from None
