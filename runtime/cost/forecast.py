"""When each step of a program will be done, on machines of known rates and over a known network.

The seconds of a step are those that a role itself will measure, its waiting included; its work is what both
roles compute for it, whoever waits meanwhile.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from ..base.errors import BadInput
from ..net.network import Network
from ..party.ledger import Ledger, Place
from ..party.role import CLIENT, SERVER, Role
from ..plan.file import Plan
from ..session.connection import FRESH, Program
from .events import run_events
from .meter import WORKERS, Meter, metered
from .rates import REFERENCE, Rates, current_rates, read_rates


@dataclass(frozen=True)
class Forecast:
    """What a program will cost.

    Attributes:
        ledger: bytes and flights; a row's seconds are those by which the later of both roles advanced.
        seconds: of each role's own clock.
        work: seconds that both roles compute, each on one core, one after the other (`work_by_place`).
        where: whose seconds they are, of this machine or the reference machine.
    """

    ledger: Ledger
    seconds: Mapping[Place, Mapping[Role, float]]
    work: Mapping[Place, float]
    where: str

    def total(self, phase: str, role: Role) -> float:
        return sum(row[role] for place, row in self.seconds.items() if place.phase == phase)


def predict_time(plan: Plan, rates: Rates, network: Network, program: Program = FRESH) -> Forecast:
    """Bytes, flights and seconds of ``program`` over ``network``."""
    return predict_times(plan, rates, [network], program)[0]


def predict_times(
    plan: Plan, rates: Rates, networks: Iterable[Network], program: Program = FRESH
) -> list[Forecast]:
    """The same over several networks: the work is counted once, and its events are played over each."""
    p = metered(plan, rates, program)
    work = work_by_place(p, rates)
    return [_played(p, work, rates, network) for network in networks]


def _played(p: Meter, work: Mapping[Place, float], rates: Rates, network: Network) -> Forecast:
    hosts = {SERVER.value: "server", CLIENT.value: "client", **dict.fromkeys(WORKERS, "server")}
    if network.one_machine:
        hosts = dict.fromkeys(hosts, "one")
    marks = run_events(p.events, hosts, rates.cores, rates.network(network))
    seconds: dict[Place, dict[Role, float]] = {}
    rows = {place: replace(cost, seconds=0.0) for place, cost in p.ledger.rows.items()}
    latest = 0.0
    for visit, place in enumerate(p.tracer.visits):
        row = seconds.setdefault(place, dict.fromkeys(Role, 0.0))
        for role in Role:
            row[role] += marks[role.value, (visit, "ended")] - marks[role.value, (visit, "begun")]
        ended = max(latest, *(marks[role.value, (visit, "ended")] for role in Role))
        rows[place].seconds += ended - latest
        latest = ended
    return Forecast(Ledger(rows), seconds, work, rates.where)


TAKEN = {"iknp_send": "key", "silent_send": "key", "iknp_receive": "choice", "silent_receive": "choice"}
"""By what makes correlated OTs, what counts them where they are taken."""


def work_by_place(p: Meter, rates: Rates) -> dict[Place, float]:
    """Seconds that both roles compute for each place.

    Correlated OTs are made by many at once, where a pool happens to run dry: that work belongs to those who
    take them, by number, so that equal layers have equal work.
    """
    work = dict.fromkeys(p.ledger.rows, 0.0)
    made: dict[tuple[Role, str], float] = defaultdict(float)
    taken: dict[tuple[Role, str], dict[Place, float]] = defaultdict(dict)
    for (place, role), units in p.work.items():
        kind = place.what if place.number is not None else ""
        for unit, n in units.items():
            seconds = n * rates.seconds(place.phase, kind, role, unit)
            if unit in TAKEN:
                made[role, TAKEN[unit]] += seconds
            else:
                work[place] += seconds
            if unit in TAKEN.values():
                taken[role, unit][place] = n
    for key, seconds in made.items():
        for place, n in taken[key].items():
            work[place] += seconds * n / sum(taken[key].values())
    return work


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
