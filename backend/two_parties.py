"""Inferences by both parties on this machine, over a connection as any client's."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TypedDict

from ppc.runtime.party.ledger import PHASES
from ppc.runtime.plan.file import Plan, Weights
from ppc.runtime.service.client import Client
from ppc.runtime.service.report import Outcome, Report
from ppc.runtime.service.server import Server
from ppc.runtime.service.tokens import Feeds

LOOPBACK = "127.0.0.1"


class Cost(TypedDict):
    """Bytes both ways by phase, of an inference in the mean but for the setup, which is the connection's;
    seconds of an inference, without the first; whether all bytes and flights were what was predicted."""

    setup: int
    offline: float
    online: float
    seconds: float
    as_predicted: bool


def inferences(plan: Plan, weights: Weights, samples: Sequence[Feeds]) -> Iterator[Outcome]:
    """What the client is left with of each, one after the other; errors as of `Client.run_all`."""
    with Server(plan, weights).start((LOOPBACK, 0)) as running:
        yield from Client(plan).run_all(samples, running.address)


def cost(reports: Sequence[Report]) -> Cost:
    """Of all inferences of one connection."""
    seen = [
        {phase: report[phase]["sent"] + report[phase]["received"] for phase in PHASES} for report in reports
    ]
    seconds = [report["seconds"] for report in reports[1:] or reports]
    return {
        "setup": sum(each["setup"] for each in seen),
        "offline": sum(each["offline"] for each in seen) / len(seen),
        "online": sum(each["online"] for each in seen) / len(seen),
        "seconds": sum(seconds) / len(seconds),
        "as_predicted": all(_as_predicted(report) for report in reports),
    }


def _as_predicted(report: Report) -> bool:
    return all(
        report[phase][what] == report["predicted"][phase][what]
        for phase in PHASES
        for what in ("sent", "received", "flights")
    )
