"""Predicted seconds of a plan, and what they are made of.

A step's seconds are those by which it moves the later of both roles on, so that they add up to the whole.
Those of a phase come from three forecasts: over a link that costs nothing (the work), over one that has
bandwidth but no delay (the bytes), and over the link asked for (the round trips).
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from ppc.runtime.cost.forecast import Forecast, predict_time
from ppc.runtime.cost.rates import Rates, current_rates
from ppc.runtime.net.network import LAN, Network
from ppc.runtime.party.ledger import PHASES, Cost, Place
from ppc.runtime.plan.file import Plan


@dataclass(frozen=True)
class Parts:
    """Seconds of one phase, and the parts of them that work, bytes and round trips add."""

    seconds: float
    work: float
    bytes: float
    trips: float


@dataclass(frozen=True)
class Prediction:
    """A plan's cost over one network on machines of known rates.

    Attributes:
        rows: bytes, flights and seconds by phase and step.
        phases: what each phase's seconds are made of.
    """

    network: Network
    rates: Rates
    rows: dict[Place, Cost]
    phases: dict[str, Parts]

    @property
    def seconds(self) -> float:
        return sum(parts.seconds for parts in self.phases.values())


def predict_seconds(plan: Plan, network: Network = LAN, rates: Rates | None = None) -> Prediction:
    """Bytes, flights and seconds of a whole run.

    Args:
        network: the link between the parties; the loopback is taken as ``rates`` have it.
        rates: of both machines; those of `current_rates` by default.
    """
    rates = rates or current_rates()
    network = rates.network(network)
    ideal = replace(network, bandwidth=float("inf"), rtt=0.0)
    whole, free, prompt = (
        predict_time(plan, rates, link) for link in (network, ideal, replace(network, rtt=0.0))
    )
    return Prediction(network, rates, whole.ledger.rows, {p: _parts(p, whole, free, prompt) for p in PHASES})


def _parts(phase: str, whole: Forecast, free: Forecast, prompt: Forecast) -> Parts:
    """Where waiting lets another thread have the core, the ideal link may take as long as the real one."""
    seconds, work, sent = (each.ledger.total(phase).seconds for each in (whole, free, prompt))
    work = min(work, seconds)
    sent = min(max(work, sent), seconds)
    return Parts(seconds, work, sent - work, seconds - sent)
