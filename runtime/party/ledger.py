"""What a run costs: bytes each way, flights and seconds, by phase and step.

A *flight* is one link of the longest chain of messages in which each must wait for the one before.
It is counted with a logical clock for each role (Lamport): a message leaves one tick after its
sender's clock and moves the receiver's clock to that tick, so messages that travel together count
once, and both sides, and the prediction, count alike.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

from .role import CLIENT, SERVER, Role

Phase = Literal["setup", "offline", "online"]
PHASES: tuple[Phase, ...] = ("setup", "offline", "online")


class Place(NamedTuple):
    """Where in a run something belongs: the phase, and what is done there.

    For a step of a plan ``what`` is its kind, ``number`` its place in the plan and ``tensor`` the model's
    name for its value, or "".
    """

    phase: str
    what: str
    number: int | None = None
    tensor: str = ""

    @property
    def label(self) -> str:
        first = "" if self.number is None else f"{self.number:04d} "
        return f"{first}{self.what} {self.tensor}".rstrip()

    @property
    def layer(self) -> str:
        """The part of the tensor's name that says where in the model it belongs."""
        return self.tensor.rsplit("/", 1)[0]


@dataclass
class Cost:
    """Bytes that each role sends, flights, and seconds of one step in one phase."""

    server: int = 0
    client: int = 0
    flights: int = 0
    seconds: float = 0.0

    def add(self, other: Cost) -> None:
        self.server += other.server
        self.client += other.client
        self.flights += other.flights
        self.seconds += other.seconds

    @property
    def bytes(self) -> int:
        return self.server + self.client


class Flight(NamedTuple):
    """What was said at once: its number, and by those who spoke the tick at which it left."""

    number: int
    ticks: Mapping[Role, int]


@dataclass
class Ledger:
    """Rows in the order in which steps first appear; one gate (`said`) writes them."""

    rows: dict[Place, Cost] = field(default_factory=dict)
    _here: Cost = field(default_factory=Cost)
    _flights: int = 0
    _clock: dict[Role, int] = field(default_factory=lambda: {SERVER: 0, CLIENT: 0})

    @contextmanager
    def at(self, place: Place) -> Iterator[Cost]:
        """Book everything inside to ``place``. Does not nest."""
        outside, self._here = self._here, self.rows.setdefault(place, Cost())
        begun, depth = time.perf_counter(), self._depth
        try:
            yield self._here
        finally:
            self._here.seconds += time.perf_counter() - begun
            self._here.flights += self._depth - depth
            self._here = outside

    def said(self, sizes: Mapping[Role, int]) -> Flight:
        """Those who speak have said so many bytes each; they listen later (`heard`)."""
        self._here.server += sizes.get(SERVER, 0)
        self._here.client += sizes.get(CLIENT, 0)
        self._flights += 1
        return Flight(self._flights, {speaker: self._clock[speaker] + 1 for speaker in sizes})

    def heard(self, flight: Flight) -> None:
        for speaker, tick in flight.ticks.items():
            self._clock[speaker.other] = max(self._clock[speaker.other], tick)

    def passed(self, sizes: Mapping[Role, int]) -> None:
        """What is said and heard at once."""
        self.heard(self.said(sizes))

    @property
    def later(self) -> Role:
        """Who waits for more flights until it is here; the server of two that come at once."""
        return max((SERVER, CLIENT), key=self._clock.__getitem__)

    @property
    def _depth(self) -> int:
        return max(self._clock.values())

    def total(self, phase: str) -> Cost:
        out = Cost()
        for place, cost in self.rows.items():
            if place.phase == phase:
                out.add(cost)
        return out
