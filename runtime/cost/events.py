"""A discrete-event simulation of two parties: lists of work and messages against a clock, who is done when.

An *actor* is a thread of one party: its events follow each other. Actors on one host share its cores evenly.
A message between parties leaves when its speaker comes to it and the link is free, takes its bytes and half a
round trip, and nobody waits for it but who needs it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from ..net.network import Network

Name: TypeAlias = Hashable

INSTANT = 1e-12
"""Seconds too short to tell from nothing."""


@dataclass(frozen=True)
class Work:
    """Seconds of computation on one core."""

    seconds: float


@dataclass(frozen=True)
class Send:
    """Message ``name`` is sent: ``size`` bytes to the other party, or None for a word between threads."""

    name: Name
    size: int | None = None


@dataclass(frozen=True)
class Await:
    """Message ``name`` must have come before anything else happens."""

    name: Name


@dataclass(frozen=True)
class Mark:
    """The time at this point is asked for."""

    name: Name


Event: TypeAlias = Work | Send | Await | Mark


@dataclass
class _Actor:
    events: Sequence[Event]
    host: str
    at: int = 0
    left: float = 0.0  # seconds of computation
    awaits: Name | None = None


def run_events(
    actors: Mapping[str, Sequence[Event]], hosts: Mapping[str, str], cores: float, network: Network
) -> dict[tuple[str, Name], float]:
    """The time of every mark, by actor and name.

    Args:
        actors: what each does.
        hosts: the host of each; every host has ``cores`` cores.

    Raises RuntimeError where all that is left waits for what nobody sends.
    """
    running = {name: _Actor(events, hosts[name]) for name, events in actors.items()}
    marks: dict[tuple[str, Name], float] = {}
    arrival: dict[Name, float] = {}
    link = dict.fromkeys(actors, 0.0)
    now = 0.0
    while True:
        moved = True
        while moved:  # what takes no time; a message may free another actor at once
            moved = False
            for name, actor in running.items():
                while not actor.left and actor.at < len(actor.events):
                    match actor.events[actor.at]:
                        case Work(seconds):
                            actor.left = seconds if seconds > INSTANT else 0.0
                        case Send(message, None):
                            arrival[message] = now
                        case Send(message, int(size)):
                            link[name] = max(link[name], now) + size / network.bandwidth
                            arrival[message] = link[name] + network.rtt / 2
                        case Mark(mark):
                            marks[name, mark] = now
                        case Await(message):
                            if arrival.get(message, now + 1) > now + INSTANT:
                                actor.awaits = message
                                break
                            actor.awaits = None
                    actor.at += 1
                    moved = True
        busy = [actor for actor in running.values() if actor.left]
        asleep = [a for a in running.values() if not a.left and a.at < len(a.events) and a.awaits in arrival]
        wake = [arrival[a.awaits] - now for a in asleep]
        if not busy and not wake:
            break
        speed = {host: min(1.0, cores / many) for host, many in Counter(a.host for a in busy).items()}
        step = min([actor.left / speed[actor.host] for actor in busy] + wake)
        now += step
        for actor in busy:
            left = actor.left - step * speed[actor.host]
            actor.left = left if left > INSTANT else 0.0
    stuck = [name for name, actor in running.items() if actor.at < len(actor.events)]
    if stuck:
        raise RuntimeError(f"{', '.join(stuck)} wait for what nobody sends")
    return marks
