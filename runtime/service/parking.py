"""Connections whose channel has ended, kept for a while so that they can go on over another."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from ..session.connection import Connection
from ..session.handshake import Ticket

Place = tuple[float, str | None, Connection]
"""When it was put here, whose it is, and what it is."""


class Parking:
    """At most ``most``, each for ``seconds`` at most; the oldest makes room."""

    def __init__(self, most: int, seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._most = most
        self._seconds = seconds
        self._clock = clock
        self._places: dict[bytes, Place] = {}
        self._lock = threading.Lock()

    def __repr__(self) -> str:
        return f"Parking({len(self._places)} connections)"

    def __len__(self) -> int:
        return len(self._places)

    def holds(self, ticket: Ticket) -> bool:
        """Whether a connection of this ticket is here, whosever it is."""
        return ticket.id in self._places

    def put(self, connection: Connection, name: str | None) -> None:
        """Keep a connection of the client of this name, or of one without."""
        with self._lock:
            self._places[connection.ticket.id] = self._clock(), name, connection
            self._make_room()

    def take(self, ticket: Ticket, name: str | None) -> Connection | None:
        """The connection of this ticket, if it is this client's and both have ended as many programs.

        A ticket is good once: what does not fit is dropped.
        """
        with self._lock:
            self._make_room()
            found = self._places.pop(ticket.id, None)
        if found is None:
            return None
        _, whose, connection = found
        if whose == name and connection.ticket.ended == ticket.ended:
            return connection
        connection.end()
        return None

    def _make_room(self) -> None:
        before = self._clock() - self._seconds
        while self._places:
            first = next(iter(self._places))
            if len(self._places) <= self._most and self._places[first][0] > before:
                return
            self._places.pop(first)[2].end()
