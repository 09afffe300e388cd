"""Connections whose channel has ended, kept for a while so that they can go on over another.

Each is given out once, and only to its client: what two channels went on from would mask twice with the same
bits (`session.kept`). In memory it is gone with its process; in a file it is claimed before a byte of it is
read (`session.once`), so that a server that is started again goes on from it, and one that dies loses it.
"""

from __future__ import annotations

import logging
import struct
import threading
import time
from collections.abc import Callable
from hashlib import blake2b
from io import FileIO
from pathlib import Path
from typing import Protocol

from ..base.errors import BadInput
from ..plan.file import VERSION
from ..session.handshake import Ticket
from ..session.kept import Kept, Named, decode, encode
from ..session.once import DIGEST, ID, Once, owned

log = logging.getLogger(__name__)

MAGIC = b"PPCKEPT1"
HEAD = struct.Struct("<8sI?")
"""Magic, protocol version, whether OT extension is checked."""


class Parking(Protocol):
    """At most so many, each for some time; the oldest makes room."""

    def __len__(self) -> int: ...

    def holds(self, ticket: Ticket) -> bool:
        """Whether a connection of this ticket is here, whosever it is."""

    def put(self, kept: Kept, name: str | None) -> None:
        """Keep a connection of the client of this name, or of one without."""

    def take(self, ticket: Ticket, name: str | None) -> Kept | None:
        """The connection of this ticket, if it is this client's and both have ended as many programs.

        A ticket is good once: what does not fit is dropped.
        """


class InMemory:
    """At most ``most``, each for ``seconds`` at most."""

    def __init__(self, most: int, seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._most = most
        self._seconds = seconds
        self._clock = clock
        self._places: dict[bytes, tuple[float, Named]] = {}
        self._lock = threading.Lock()

    def __repr__(self) -> str:
        return f"InMemory({len(self)} connections)"

    def __len__(self) -> int:
        return len(self._places)

    def holds(self, ticket: Ticket) -> bool:
        return ticket.id in self._places

    def put(self, kept: Kept, name: str | None) -> None:
        with self._lock:
            self._places[kept.ticket.id] = self._clock(), Named(name, kept)
            self._make_room()

    def take(self, ticket: Ticket, name: str | None) -> Kept | None:
        with self._lock:
            self._make_room()
            found = self._places.pop(ticket.id, None)
        return None if found is None else _fitting(found[1], ticket, name)

    def _make_room(self) -> None:
        before = self._clock() - self._seconds
        while self._places:
            first = next(iter(self._places))
            if len(self._places) <= self._most and self._places[first][0] > before:
                return
            del self._places[first]


class OnDisk:
    """The same in files of ``path``, for its owner alone; the clock is that of the files.

    What is of another version of ppc, or of the other ``--check-ot``, stays until its time is over.

    Raises BadInput where nothing can be written there, or others can read it.
    """

    def __init__(
        self, path: Path, most: int, seconds: float, *, check_ot: bool, clock: Callable[[], float] = time.time
    ) -> None:
        self._once = Once(path, "kept", "what is kept of connections")
        self._once.create()
        self._most = most
        self._seconds = seconds
        self._head = HEAD.pack(MAGIC, VERSION, check_ot)
        self._clock = clock
        self._make_room()

    def __repr__(self) -> str:
        return f"OnDisk({len(self)} connections)"

    def __len__(self) -> int:
        return len(self._once.entries())

    def holds(self, ticket: Ticket) -> bool:
        return self._once.ready(_place(ticket)).exists()

    def put(self, kept: Kept, name: str | None) -> None:
        """As `Parking` has it; where the disk is full it is dropped, with a line in the log."""
        try:
            with self._once.draft(_place(kept.ticket), (self._head, encode(Named(name, kept)))) as draft:
                draft.publish()
            self._make_room()
        except BadInput as fault:
            log.warning("a client that comes again begins anew: %s", fault)

    def take(self, ticket: Ticket, name: str | None) -> Kept | None:
        self._make_room()
        try:
            found = self._once.claim(_place(ticket), self._check, self._load)
        except (OSError, ValueError) as fault:
            log.warning("a kept connection is not used: %s", fault)
            return None
        return None if found is None else _fitting(found, ticket, name)

    def _check(self, file: FileIO) -> None:
        owned(file)
        if file.read(HEAD.size) != self._head:
            raise ValueError("it is of another version, or of the other --check-ot")

    def _load(self, file: FileIO) -> Named:
        file.seek(HEAD.size)
        return decode(file.read()[:-DIGEST])

    def _make_room(self) -> None:
        before = (self._clock() - self._seconds) * 1e9
        for i, (when, path) in enumerate(self._once.entries()):
            if i >= self._most or when <= before:
                self._once.discard(bytes.fromhex(path.stem))


def _place(ticket: Ticket) -> bytes:
    """The name of its file, which tells nothing of it."""
    return blake2b(ticket.id, digest_size=ID, person=b"ppc kept").digest()


def _fitting(found: Named, ticket: Ticket, name: str | None) -> Kept | None:
    return found.kept if found.name == name and found.kept.ticket == ticket else None
