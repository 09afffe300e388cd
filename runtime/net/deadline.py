"""How long a message may take: what a peer cannot stretch by sending, or reading, a byte now and then.

A message of ``size`` bytes is late once nothing of it has moved for ``timeout`` seconds, or once it has taken
``timeout`` + ``size`` / `SLOWEST` seconds in all, its header included. So a link of that rate or more carries
messages of any size, and a byte every few seconds gains a peer nothing: the longest that it can hold a side
is known beforehand.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable

SLOWEST = 64_000.0
"""Bytes a second that every link is expected to carry (512 kbit/s)."""

OPENING_SECONDS = 10.0
"""For what a client has to say as soon as it is let in: its TLS handshake, and what it asks for."""


def _never() -> bool:
    return False


class Deadline:
    """Of one message of ``size`` bytes, from now on. Times are seconds of ``clock``.

    Args:
        until: when the message must be there in any case.
        excused: asked where it would be late; if so, it has as much time again.
    """

    def __init__(
        self,
        size: int,
        timeout: float,
        slowest: float = SLOWEST,
        clock: Callable[[], float] = time.monotonic,
        *,
        until: float | None = None,
        excused: Callable[[], bool] = _never,
    ) -> None:
        self.size = size
        self.timeout = timeout
        self.passed = 0
        """Bytes of the message that have moved, as the stream counts them."""
        self.begun = False
        """Whether anything has moved, be it a part of a TLS record."""
        self._allowed = timeout + size / slowest
        self._until = math.inf if until is None else until
        self._excused = excused
        self._clock = clock
        self._start = self._last = clock()

    def left(self) -> float:
        """Seconds in which something has to move; none where the message is late."""
        if self._left() <= 0 and self._excused():
            self._start = self._last = self._clock()
        return max(0.0, self._left())

    def _left(self) -> float:
        return min(self._last + self.timeout, self._start + self._allowed, self._until) - self._clock()

    def moved(self) -> None:
        """Something did."""
        self.begun = True
        self._last = self._clock()

    def postpone(self, since: float) -> None:
        """The wait for the first byte counts from ``since``, where that is later."""
        if not self.begun:
            self._start = self._last = max(self._start, since)

    def why(self, silent: str, slow: str) -> str:
        """What to say of a late message: ``silent`` for how long, or ``slow`` by how much."""
        now, allowed = self._clock(), min(self._allowed, self._until - self._start)
        if now - self._last >= min(self.timeout, allowed):
            return f"{silent} for {min(self.timeout, allowed):.3g} seconds"
        took = f"{self.passed:,} of {self.size:,} bytes in {now - self._start:.1f} seconds"
        return f"{slow}: {took}, where {allowed:.1f} are allowed for all"
