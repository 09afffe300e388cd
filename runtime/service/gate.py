"""Who may compute now: bounds on what runs, on what waits, on memory; turns are fair by client."""

from __future__ import annotations

import os
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from math import ceil, inf

from ..base.errors import NetworkFault, PeerLeft
from ..net.frame import Notice, Told

LOOK_SECONDS = 1.0
"""How often it is looked whether a client that waits is still there."""

FIRST_GUESS = 10.0
"""Seconds that a program is taken to last until one has ended."""


@dataclass(frozen=True, kw_only=True)
class Limits:
    """
    Attributes:
        connections: that are open, whether they say anything or not.
        share: of these, one client's.
        at_once: programs that run at the same time; each keeps at most a core busy, and waits for its client
            for half the time.
        waiting: programs that wait for their turn; who comes then is told to come again.
        memory: bytes that all that run are predicted to hold (`Facts.memory`).
        kept: connections whose channel has ended and that their clients may go on with.
        kept_seconds: for how long.
    """

    connections: int = 256
    share: int = 32
    at_once: int = field(default_factory=lambda: 2 * len(os.sched_getaffinity(0)))
    waiting: int = 128
    memory: float = inf
    kept: int = 16
    kept_seconds: float = 3600.0


class TurnedAway(NetworkFault):
    """A client is not answered now; ``notice`` is what it is to be told."""

    def __init__(self, why: str, notice: Notice) -> None:
        super().__init__(why)
        self.notice = notice

    def __reduce__(self) -> tuple[type[TurnedAway], tuple[str, Notice]]:
        """An exception is told to another process by its arguments, of which the text is one."""
        return type(self), (str(self), self.notice)


class _Ticket:
    """A program that waits or runs."""

    def __init__(self, client: str, memory: int) -> None:
        self.client = client
        self.memory = memory


class Gate:
    """Hands out turns; among those that wait, first to the client that has the fewest running."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._changed = threading.Condition()
        self._waiting: list[_Ticket] = []
        self._running: list[_Ticket] = []
        self._open = True
        self._lasts = FIRST_GUESS

    def __repr__(self) -> str:
        return f"Gate({len(self._running)} running, {len(self._waiting)} waiting)"

    @property
    def running(self) -> int:
        return len(self._running)

    @property
    def waiting(self) -> int:
        return len(self._waiting)

    @property
    def memory(self) -> int:
        """Bytes that what runs is predicted to hold."""
        with self._changed:
            return sum(each.memory for each in self._running)

    @property
    def seconds(self) -> int:
        """After which a client that is turned away may hope for a turn."""
        return max(1, ceil(self._lasts * (len(self._waiting) + 1) / self._limits.at_once))

    @contextmanager
    def turn(
        self,
        client: str,
        memory: int,
        *,
        tell: Callable[[Notice], None] = lambda notice: None,
        there: Callable[[], bool] = lambda: True,
        idle: bool = False,
    ) -> Iterator[None]:
        """Wait for a turn, and have it while this is open.

        Args:
            tell: called with the place of a client that waits, 1 being next.
            there: whether it still does.
            idle: have one only where nobody waits and, of several, another is left for who comes next.

        Raises TurnedAway where it need not wait, PeerLeft where it has left.
        """
        ticket = _Ticket(client, memory)
        self._enter(ticket, tell, there, idle)
        begun = time.monotonic()
        try:
            yield
        finally:
            with self._changed:
                self._running.remove(ticket)
                self._lasts += (time.monotonic() - begun - self._lasts) / 8
                self._changed.notify_all()

    def close(self) -> None:
        """Give out no more turns; who waits is told so."""
        with self._changed:
            self._open = False
            self._changed.notify_all()

    def _enter(
        self, ticket: _Ticket, tell: Callable[[Notice], None], there: Callable[[], bool], idle: bool
    ) -> None:
        with self._changed:
            if self._crowded(ticket, idle):
                why = f"busy: {self.running} run and {self.waiting} wait"
                raise TurnedAway(why, Notice(Told.BUSY, self.seconds))
            self._waiting.append(ticket)
            try:
                self._wait(ticket, tell, there)
                self._running.append(ticket)
            finally:
                self._waiting.remove(ticket)
                self._changed.notify_all()

    def _wait(self, ticket: _Ticket, tell: Callable[[Notice], None], there: Callable[[], bool]) -> None:
        told = 0
        while self._open:
            place = self._place(ticket)
            if place == 1 and self._fits(ticket):
                return
            if place != told:
                tell(Notice(Told.PLACE, place))
                told = place
            self._changed.wait(LOOK_SECONDS)
            if not there():
                raise PeerLeft("the client left while it waited for its turn")
        raise TurnedAway("stopping", Notice(Told.STOPPING, self.seconds))

    def _place(self, ticket: _Ticket) -> int:
        """Among those that wait, 1 being next."""
        busy = Counter(each.client for each in self._running)
        order = sorted(self._waiting, key=lambda each: busy[each.client])  # stable: else as they came
        return order.index(ticket) + 1

    def _crowded(self, ticket: _Ticket, idle: bool) -> bool:
        if not idle:
            return len(self._waiting) >= self._limits.waiting and not self._fits(ticket)
        left = self._limits.at_once - self.running
        return bool(self._waiting) or not self._fits(ticket) or left < min(2, self._limits.at_once)

    def _fits(self, ticket: _Ticket) -> bool:
        held = sum(each.memory for each in self._running)
        return len(self._running) < self._limits.at_once and held + ticket.memory <= self._limits.memory
