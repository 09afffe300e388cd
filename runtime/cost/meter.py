"""When each step of a plan will be done: the priced walk once more, which also writes down who does what.

The work is counted by what a walk without data can see: correlated OTs made and used, ring elements said and
heard, coefficients and multiply-adds of the products under HE, elements of the value that a step makes.
`rates` says how long one of each takes, `clockwork` what that comes to where work and messages overlap. So
the seconds of a step are those that a role itself will measure, its waiting included.
"""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import count
from math import prod
from typing import Any

import numpy as np

from ..base.errors import BadInput
from ..base.ring import Ring
from ..base.wire import Buffer
from ..he.engine import MOST_WORKERS, Answer, HeSession, workers
from ..he.product import Product, answer_parts, parameter_sets, upload_bytes
from ..net.channel import HEADER
from ..net.network import Network
from ..ot.base import POINT
from ..ot.extension import COLUMNS
from ..ot.pool import Pool
from ..ot.silent import SETS
from ..party.ledger import Cost, Ledger
from ..party.party import Party
from ..party.role import CLIENT, SERVER, Role
from ..plan.file import Plan
from ..plan.steps import Linear, MatMul, Step
from ..session.executor import Run, count_ots, hollow, offline, online
from .events import Event, Mark, Need, Say, Work, play
from .rates import REFERENCE, Rates, current_rates, read_rates

Units = dict[str, float]
"""Counts of work, by its name in `Rates`."""

Place = tuple[str, str]
"""Phase and step."""

WORKERS = tuple(f"worker {i}" for i in range(MOST_WORKERS))
"""The threads in which the server answers uploads; `he_session`."""


@dataclass(frozen=True)
class Forecast:
    """What a run will cost.

    Attributes:
        ledger: bytes and flights; a row's seconds are those by which the later of both roles advanced.
        seconds: of each role's own clock.
    """

    ledger: Ledger
    seconds: dict[Place, dict[Role, float]]

    def total(self, phase: str, role: Role) -> float:
        return sum(row[role] for (at, _), row in self.seconds.items() if at == phase)


class Tracer(Ledger):
    """A ledger that also writes messages and steps into the lists of both roles."""

    def __init__(self, events: dict[str, list[Event]], ending: Callable[[], None]) -> None:
        super().__init__()
        self.here: Place = ("", "")
        self.visits: list[Place] = []
        self._events = events
        self._ending = ending
        self._messages = 0

    @contextmanager
    def at(self, phase: str, step: str) -> Iterator[Cost]:
        outside, self.here = self.here, (phase, step)
        visit = len(self.visits)
        self.visits.append(self.here)
        self._both(Mark((visit, "begun")))
        with super().at(phase, step) as cost:
            yield cost
            self._ending()
        self._both(Mark((visit, "ended")))
        self.here = outside

    def message(self, speaker: Role, size: int) -> None:
        super().message(speaker, size)
        self._pass({speaker: size})

    def swapped(self, server: int, client: int) -> None:
        super().swapped(server, client)
        self._pass({SERVER: server, CLIENT: client})

    def _both(self, event: Event) -> None:
        for role in Role:
            self._events[role.value].append(event)

    def _pass(self, sizes: dict[Role, int]) -> None:
        self._messages += 1
        for role, size in sizes.items():
            self._events[role.value].append(Say((role, self._messages), size))
        for role in sizes:
            self._events[role.other.value].append(Need((role, self._messages)))


class Meter(Party):
    """A priced party that counts the work of a plan and writes down who does what.

    Attributes:
        work: units of work by phase, step and role.
        events: what each actor does, in order.
    """

    def __init__(self, plan: Plan, rates: Rates | None) -> None:
        super().__init__(None)
        self.events: dict[str, list[Event]] = {name: [] for name in (SERVER.value, CLIENT.value, *WORKERS)}
        self.ledger = self.tracer = Tracer(self.events, self._end)
        self.work: dict[tuple[Place, Role], Units] = defaultdict(lambda: defaultdict(float))
        self._steps = {
            plan.label(i): (step, [plan.forms[j].size for j in (i, *step.reads())])
            for i, step in enumerate(plan.steps)
        }
        self._rates = rates
        self._spread: Mapping[Role, Units] | None = None

    @property
    def workers(self) -> tuple[str, ...]:
        """The server's threads for answers."""
        return WORKERS[: workers(self._rates.cores)] if self._rates is not None else WORKERS[:1]

    def does(self, role: Role, units: Units, actor: str = "") -> float:
        """``role``, or its thread ``actor``, does this much work before anything else; its seconds."""
        phase, label = self.tracer.here
        counted = self.work[self.tracer.here, role]
        found, seconds = self._steps.get(label), 0.0
        kind = type(found[0]).__name__ if found else ""
        for unit, n in units.items():
            counted[unit] += n
            if self._rates is not None:
                seconds += n * self._rates.seconds(phase, kind, role, unit)
        if seconds:
            self.events[actor or role.value].append(Work(seconds))
        return seconds

    @contextmanager
    def spread(self, size: int = 0, work: Mapping[Role, Units] | None = None) -> Iterator[None]:
        """Messages of ``size`` bytes in all, with which the roles do their ``work`` by and by."""
        outside = self._spread
        self._spread = {role: _times((work or {}).get(role, {}), 1 / max(1, size)) for role in Role}
        yield
        self._spread = outside

    def _end(self) -> None:
        """The work of a step that comes with no message."""
        phase, label = self.tracer.here
        if label not in self._steps:
            return
        for role in Role:
            more = step_work(*self._steps[label], role) if phase == "online" else {}
            self.does(role, {"step": 1, **more})

    def tell_bytes(self, speaker: Role, size: int, make: Callable[[], Buffer]) -> Buffer | None:
        work = {role: {"byte": 1.0} for role in Role} if self._spread is None else self._spread
        self.does(speaker, _times(work[speaker], size))
        self.ledger.message(speaker, HEADER.size + size)
        self.does(speaker.other, _times(work[speaker.other], size))
        return None

    def tell(self, speaker: Role, bits: int, shape: tuple[int, ...], make: Callable[[], Ring]) -> Ring | None:
        self.does(speaker, {"said": prod(shape)})
        with self.spread():
            super().tell(speaker, bits, shape, make)
        self.does(speaker.other, {"heard": prod(shape)})
        return None

    def swap(self, bits: int, shape: tuple[int, ...], make: Callable[[], Ring]) -> Ring | None:
        for role in Role:
            self.does(role, {"swapped": prod(shape)})
        return super().swap(bits, shape, make)


class _MeterPool(Pool):
    """Counts COTs as they are made and as they are taken."""

    def take(self, p: Party, n: int) -> tuple[int, Ring | None]:
        out = super().take(p, n)
        meter(p).does(self.sender, {"key": n})
        meter(p).does(self.sender.other, {"choice": n})
        return out

    def _extend(self, p: Party) -> None:
        kind, wanted = self._todo[0]
        lpn, other = SETS.get(kind), self.sender.other
        if lpn is None:
            meter(p).does(other, {"iknp_receive": wanted})
        else:
            meter(p).does(self.sender, {"silent_send": lpn.made})
        with meter(p).spread():
            super()._extend(p)
        if lpn is None:
            meter(p).does(self.sender, {"iknp_send": wanted})
        else:
            meter(p).does(other, {"silent_receive": lpn.made})


class _MeterHe(HeSession):
    """Counts the work of keys, uploads and answers, these in the server's worker that is free first."""

    def __init__(self, p: Meter, products: Iterable[Product]) -> None:
        keys = sum((1 + s.pack_keys) * s.degree * len(s.primes) for s in parameter_sets(products))
        self._numbers = count()
        self._begun: deque[int] = deque()
        self._busy = dict.fromkeys(p.workers, 0.0)
        p.does(CLIENT, {"he_key_make": keys})
        with p.spread():
            super().__init__(p, products)
        p.does(SERVER, {"he_key_read": keys})

    def upload(self, p: Party, product: Product) -> tuple[Ring | None, list[Buffer] | None]:
        with meter(p).spread(upload_bytes(product), {CLIENT: product.work["upload"]}):
            super().upload(p, product)
        job, parts = next(self._numbers), len(answer_parts(product))
        self._begun.append(job)
        worker = min(self._busy, key=self._busy.__getitem__)
        events = meter(p).events
        events[SERVER.value].append(Say(("job", job)))
        events[worker].append(Need(("job", job)))
        for part in range(parts):
            work = _times(product.work["answer"], 1 / parts)
            self._busy[worker] += meter(p).does(SERVER, work, worker)
            events[worker].append(Say(("answer", job, part)))
        return None, None

    def finish(self, p: Party, product: Product, answer: Answer | None) -> Ring | None:
        job = self._begun.popleft()
        for part in range(len(answer_parts(product))):
            meter(p).events[SERVER.value].append(Need(("answer", job, part)))
        with meter(p).spread():
            super().finish(p, product, answer)
        meter(p).does(CLIENT, product.work["finish"])
        return None


def meter(p: Party) -> Meter:
    if not isinstance(p, Meter):
        raise TypeError("only a meter counts work")
    return p


def step_work(step: Step, sizes: Iterable[int], role: Role) -> Units:
    """What a role computes online whatever it says: elements of the largest value, products of matrices."""
    work: Units = {"element": max(sizes)}
    if isinstance(step, MatMul) or (isinstance(step, Linear) and role is SERVER):
        work["mac"] = sum(made.batch * made.m * made.k * made.n for made in step.products())
    return work


def trace(plan: Plan, rates: Rates | None, *, prepared: bool = False, preparations: int = 0) -> Meter:
    """Walk a whole run, the handshake included; with ``rates`` None the work is only counted.

    ``prepared`` walks a run that finds its material, ``preparations`` as many offline phases and no more.
    """
    from ..session.program import book_handshake  # here, since a session's report needs this module

    p = Meter(plan, rates)
    with p.ledger.at("setup", "handshake"):
        for role in Role:
            p.does(role, {"walk": len(plan.steps)})
        book_handshake(p.ledger)
    if prepared:
        online(p, Run(plan), hollow(plan))
        return p
    _setup(p, plan, preparations or 1)
    for _ in range(preparations):
        offline(p, Run(plan))
        with p.ledger.at("offline", "stored"):
            p.swap(8, (1,), lambda: np.zeros(1, np.uint64))
    if not preparations:
        run = Run(plan)
        online(p, run, offline(p, run))
    return p


def _setup(p: Meter, plan: Plan, inferences: int) -> None:
    """As `executor.setup`, with what counts in the places of what computes."""
    counts = count_ots(plan)
    pools = {SERVER: _MeterPool(SERVER, inferences * counts.server)}
    pools[CLIENT] = _MeterPool(CLIENT, inferences * counts.client)
    p.pools = {**pools}
    for role, pool in pools.items():
        base: dict[Role, Units] = {role: {"base_receive": COLUMNS}, role.other: {"base_send": COLUMNS}}
        with p.ledger.at("setup", f"base OTs, sender {role.value}"), p.spread(POINT * (1 + COLUMNS), base):
            pool.setup(p)
    with p.ledger.at("setup", "HE public keys"):
        p.he = _MeterHe(p, plan.products)


def forecast(plan: Plan, rates: Rates, network: Network, **session: Any) -> Forecast:
    """Bytes, flights and seconds of what `trace` walks, over ``network``."""
    p = trace(plan, rates, **session)
    hosts = {SERVER.value: "server", CLIENT.value: "client", **dict.fromkeys(WORKERS, "server")}
    if network.one_machine:
        hosts = dict.fromkeys(hosts, "one")
    marks = play(p.events, hosts, rates.cores, rates.network(network))
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
    return Forecast(p.ledger, seconds)


def foretell(plan: Plan, network: Network, **session: Any) -> dict[Place, dict[Role, float]]:
    """Seconds of both roles for the report of a session, at the rates that this machine knows of itself."""
    try:
        rates = current_rates()
    except BadInput:  # a run that is done is reported whatever the user's file of rates holds
        rates = read_rates(REFERENCE)
    return forecast(plan, rates, network, **session).seconds


def _times(units: Mapping[str, float], factor: float) -> Units:
    return {unit: n * factor for unit, n in units.items()}
