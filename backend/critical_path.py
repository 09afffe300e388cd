"""The chain of steps that no amount of sharing flights can shorten."""

from __future__ import annotations

from collections.abc import Mapping

from ppc.runtime.party.ledger import Cost, Place
from ppc.runtime.plan.file import Plan


def critical_path(plan: Plan, rows: Mapping[Place, Cost]) -> tuple[int, list[int]]:
    """(online flights, steps) of the longest chain of steps that read one another.

    Steps take turns (`ppc.runtime.party.turns`): a run's flights are those of the chain where all else fits
    beside it, and a flight that several share stands at one of them.
    """
    flights: list[int] = []  # of the longest chain that ends with each step,
    before: list[int | None] = []  # and the step before it there
    for i, step in enumerate(plan.steps):  # which read earlier ones alone
        last = max(step.reads(), key=flights.__getitem__, default=None)
        flights.append(rows[plan.place("online", i)].flights + (0 if last is None else flights[last]))
        before.append(last)
    at = max(range(len(flights)), key=flights.__getitem__, default=None)
    path: list[int] = []
    while at is not None:
        path.append(at)
        at = before[at]
    return (flights[path[0]] if path else 0), path[::-1]
