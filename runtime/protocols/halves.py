"""What is done with many elements: each side sends for half of them, and parts of them take turns.

A message of OTs goes from their sender alone. Where it is long, both directions carry half of it at once,
and both sides compute at once. Where it is short that would be a second message, and a wait for it: a side
that only sends goes on.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

from ..party.role import CLIENT, SERVER, Role

FLIGHT = 1 << 16
"""Bytes that a flight is worth, at most: what travels in the time of one over fast links. A plan for a
network that carries fewer says so."""

LONG = 16 * FLIGHT
"""From how many bytes on it is worth while."""


def check_flight(flight: int) -> None:
    """ValueError for what no flight is worth."""
    if not 0 <= flight <= FLIGHT:
        raise ValueError(f"a flight that is worth {flight} bytes, where it is 0 to {FLIGHT}")


@dataclass(frozen=True)
class Half:
    """``sender`` sends for the elements ``at``."""

    sender: Role
    at: slice

    @property
    def count(self) -> int:
        found: int = self.at.stop - self.at.start
        return found


def halves(count: int, bits: int, sender: Role = SERVER) -> list[Half]:
    """Of ``count`` elements, for each of which a sender says so many ``bits``. ``sender`` sends for few."""
    if count * bits // 8 < LONG:
        return [Half(sender, slice(0, count))]
    middle = count // 2
    return [Half(SERVER, slice(0, middle)), Half(CLIENT, slice(middle, count))]


MOST_PARTS = 4
"""More are more messages, and hide no more of the waiting."""


def parts(count: int, bits: int) -> list[slice]:
    """Of ``count`` elements, of each of which so many ``bits`` are said: long enough for one to be
    computed while another travels."""
    many = max(1, min(MOST_PARTS, count * bits // 8 // (2 * LONG)))
    cuts = [i * count // many for i in range(many + 1)]
    return [slice(a, b) for a, b in pairwise(cuts)]
