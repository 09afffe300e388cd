"""A front: it hears what a client asks for, and sends it on to the one of several servers that answers it.

    client -> front     what it says first to any server (`session.handshake`)
    front  -> client    where the server is that answers (`net.frame.Told.ELSEWHERE`)

The servers are alike, and each finds out for itself who its client is: an address opens nothing, and whoever
the front would not answer gets none. A client goes where most lies of what it shows: the connection that its
ticket belongs to, or prepared inferences. Nobody remembers where that was, so that a front, or a server that
takes another's place, may begin at any time. Who shows nothing that lies anywhere goes where least is to do.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import NamedTuple

from ..net.frame import Notice, Told
from ..session.handshake import Request, Ticket
from .gate import TurnedAway

SEEN_SECONDS = 2.0
"""For so long a client that was sent on counts as load of its server, which may not have met it yet."""


class Shown(NamedTuple):
    """What a client shows that may lie at a server: who it is, for which plan, by what it would go on, and
    ids of what it holds prepared."""

    name: str | None
    plan: str
    ticket: Ticket
    ids: frozenset[bytes]

    @staticmethod
    def by(name: str | None, request: Request) -> Shown:
        return Shown(name, request.plan, request.ticket, frozenset(request.named))

    def __repr__(self) -> str:
        return f"Shown({self.name}, plan {self.plan[:12]}, <secret>)"


class Standing(NamedTuple):
    """A server as one client finds it: where it is, how much lies there of what this client shows, and what
    it has to do: programs that run or wait, and connections."""

    address: str
    held: int
    load: int


class Front:
    """Chooses a server for each client.

    Args:
        standings: of all servers that answer just now. It is called from many threads at a time.
    """

    def __init__(
        self, standings: Callable[[Shown], Sequence[Standing]], clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._standings = standings
        self._clock = clock
        self._lately: deque[tuple[float, str]] = deque()
        self._lock = threading.Lock()

    def choose(self, name: str | None, request: Request) -> str:
        """HOST:PORT. TurnedAway where no server answers."""
        found = self._standings(Shown.by(name, request))
        if not found:
            raise TurnedAway("unanswered: no server is there", Notice(Told.BUSY, 1))
        with self._lock:
            now = self._clock()
            while self._lately and self._lately[0][0] <= now - SEEN_SECONDS:
                self._lately.popleft()
            sent = [address for _, address in self._lately]
            best = max(found, key=lambda each: (each.held, -each.load - sent.count(each.address)))
            self._lately.append((now, best.address))
        return best.address
