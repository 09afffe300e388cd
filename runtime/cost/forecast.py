"""When each step of a program will be done, on machines of known rates and over a known network.

The seconds of a step are those that a role itself will measure, its waiting included.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from ..base.errors import BadInput
from ..net.network import Network
from ..party.ledger import Ledger, Place
from ..party.role import CLIENT, SERVER, Role
from ..plan.file import Plan
from ..session.connection import FRESH, Program
from .events import run_events
from .meter import WORKERS, metered
from .rates import REFERENCE, Rates, current_rates, read_rates


@dataclass(frozen=True)
class Forecast:
    """What a program will cost.

    Attributes:
        ledger: bytes and flights; a row's seconds are those by which the later of both roles advanced.
        seconds: of each role's own clock.
        where: whose seconds they are, of this machine or the reference machine.
    """

    ledger: Ledger
    seconds: Mapping[Place, Mapping[Role, float]]
    where: str

    def total(self, phase: str, role: Role) -> float:
        return sum(row[role] for place, row in self.seconds.items() if place.phase == phase)


def predict_time(plan: Plan, rates: Rates, network: Network, program: Program = FRESH) -> Forecast:
    """Bytes, flights and seconds of ``program`` over ``network``."""
    p = metered(plan, rates, program)
    hosts = {SERVER.value: "server", CLIENT.value: "client", **dict.fromkeys(WORKERS, "server")}
    if network.one_machine:
        hosts = dict.fromkeys(hosts, "one")
    marks = run_events(p.events, hosts, rates.cores, rates.network(network))
    seconds: dict[Place, dict[Role, float]] = {}
    for cost in p.ledger.rows.values():
        cost.seconds = 0.0
    latest = 0.0
    for visit, place in enumerate(p.tracer.visits):
        row = seconds.setdefault(place, dict.fromkeys(Role, 0.0))
        for role in Role:
            row[role] += marks[role.value, (visit, "ended")] - marks[role.value, (visit, "begun")]
        ended = max(latest, *(marks[role.value, (visit, "ended")] for role in Role))
        p.ledger.rows[place].seconds += ended - latest
        latest = ended
    return Forecast(p.ledger, seconds, rates.where)


KEPT = 16
"""Forecasts that are kept: a token costs what the last one did."""

_foretold: dict[tuple[str, Network, Program], tuple[Rates, Forecast]] = {}


def predict_time_here(plan: Plan, network: Network, program: Program = FRESH) -> Forecast:
    """The same at the rates that this machine knows of itself; kept for the next who asks, not to be
    changed."""
    try:
        rates = current_rates()
    except BadInput:  # a run that is done is reported whatever the user's file of rates holds
        rates = read_rates(REFERENCE)
    key = plan.hash, network, program
    known, found = _foretold.pop(key, (None, None))
    if found is None or known != rates:
        found = predict_time(plan, rates, network, program)
    _foretold[key] = rates, found  # the latest last
    if len(_foretold) > KEPT:
        del _foretold[next(iter(_foretold))]
    return found
