"""Predicted seconds of a plan, and what they are made of.

Those of a phase come from three forecasts: over a link that costs nothing (the work), over one that has
bandwidth but no delay (the bytes), and over the link asked for (the round trips). Steps share them out: the
work by what both roles compute for each, the bytes and the round trips by the bytes and flights of each. So
equal steps cost the same, wherever somebody waits, and all of them add up to the whole.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from ppc.runtime.cost.forecast import Forecast, predict_times
from ppc.runtime.cost.rates import Rates, current_rates
from ppc.runtime.net.network import LAN, Network
from ppc.runtime.party.ledger import PHASES, Cost, Place
from ppc.runtime.party.role import Role
from ppc.runtime.plan.file import Plan
from ppc.runtime.session.connection import FRESH, Program
from ppc.runtime.session.engines import Ready


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
        rows: bytes, flights and seconds by phase and step; the link's part of them included.
        work: that part of a row's seconds which is computing.
        phases: what each phase's seconds are made of.
    """

    network: Network
    rates: Rates
    rows: dict[Place, Cost]
    work: dict[Place, float]
    phases: dict[str, Parts]

    @property
    def seconds(self) -> float:
        return sum(parts.seconds for parts in self.phases.values())

    @property
    def bytes(self) -> int:
        return sum(row.bytes for row in self.rows.values())


def following(plan: Plan) -> Program | None:
    """Any but the first of the inferences whose material is made together; None where each makes its own."""
    if not plan.together:
        return None
    keys = frozenset(each.params for each in plan.products)
    ahead = frozenset(((plan.hash, i), plan.options.together - 1) for i in plan.together)
    return Program(further=True, ready=Ready(frozenset(Role), keys, ahead))


def predict_seconds(
    plan: Plan, network: Network = LAN, rates: Rates | None = None, program: Program = FRESH
) -> Prediction:
    """Bytes, flights and seconds of a whole run.

    Args:
        network: the link between the parties; the loopback is taken as ``rates`` have it.
        rates: of both machines; those of `current_rates` by default.
        program: a connection's first inference, with nothing prepared, by default.
    """
    return predict_over(plan, [network], rates, program)[0]


def predict_over(
    plan: Plan, networks: Iterable[Network], rates: Rates | None = None, program: Program = FRESH
) -> list[Prediction]:
    """The same over each of several networks."""
    rates = rates or current_rates()
    links = [rates.network(network) for network in networks]
    asked = list(dict.fromkeys(each for link in links for each in (link, _ideal(link), _prompt(link))))
    found = dict(zip(asked, predict_times(plan, rates, asked, program), strict=True))
    return [
        _prediction(link, rates, *map(found.__getitem__, (link, _ideal(link), _prompt(link))))
        for link in links
    ]


def _ideal(network: Network) -> Network:
    return replace(network, name="", bandwidth=float("inf"), rtt=0.0)


def _prompt(network: Network) -> Network:
    return replace(network, name="", rtt=0.0)


def _prediction(
    network: Network, rates: Rates, whole: Forecast, free: Forecast, prompt: Forecast
) -> Prediction:
    phases: dict[str, Parts] = {phase: _parts(phase, whole, free, prompt) for phase in PHASES}
    rows, work = dict[Place, Cost](), dict[Place, float]()
    for phase, parts in phases.items():
        there = {place: cost for place, cost in whole.ledger.rows.items() if place.phase == phase}
        computing = _shares(parts.work, {place: whole.work[place] for place in there})
        sent = _shares(parts.bytes, {place: cost.bytes for place, cost in there.items()})
        trips = _shares(parts.trips, {place: cost.flights for place, cost in there.items()})
        work |= computing
        for place, cost in there.items():
            rows[place] = replace(cost, seconds=computing[place] + sent[place] + trips[place])
    return Prediction(network, rates, rows, work, phases)


def _shares(seconds: float, weights: Mapping[Place, float]) -> dict[Place, float]:
    """``seconds`` by weight; evenly where nothing weighs anything."""
    whole = sum(weights.values())
    if not whole:
        return dict.fromkeys(weights, seconds / max(1, len(weights)))
    return {place: seconds * weight / whole for place, weight in weights.items()}


def _parts(phase: str, whole: Forecast, free: Forecast, prompt: Forecast) -> Parts:
    """Where waiting lets another thread have the core, the ideal link may take as long as the real one."""
    seconds, work, sent = (each.ledger.total(phase).seconds for each in (whole, free, prompt))
    work = min(work, seconds)
    sent = min(max(work, sent), seconds)
    return Parts(seconds, work, sent - work, seconds - sent)
