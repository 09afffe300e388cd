"""A party that counts work: the same program once more, and who does how much of what, in what order.

The work is counted by what a walk without data can see: correlated OTs made and used, ring elements said and
heard, coefficients and multiply-adds of the products under HE, elements of the value that a step makes.
`rates` says how long one of each takes, `events` what that comes to where work and messages overlap.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from itertools import count
from math import prod

from ..base.ring import Ring, packed_size
from ..base.wire import Buffer
from ..he.engine import MOST_WORKERS, HeEngine, PendingAnswer, workers
from ..he.params import HeParams
from ..he.product import Product, answer_parts, parameter_sets, upload_bytes
from ..ot.base import POINT
from ..ot.extension import COLUMNS
from ..ot.pool import Pool
from ..ot.silent import SETS
from ..party.ahead import Ahead
from ..party.ledger import Cost, Flight, Ledger, Place
from ..party.party import Message, Part, Party
from ..party.ports import Engines, MatrixProduct, Right
from ..party.role import CLIENT, SERVER, Role
from ..plan.file import Plan
from ..plan.steps import Linear, MatMul, Step
from ..session.connection import FRESH, HANDSHAKE, Program, rehearse
from ..session.engines import NOTHING, Ready
from .events import Await, Event, Mark, Send, Work
from .rates import Rates

Units = dict[str, float]
"""Counts of work, by its name in `Rates`."""

_SPREAD: ContextVar[Mapping[Role, Units] | None] = ContextVar("spread", default=None)
"""The work that messages stand for now (`Meter.spread`); each job that takes turns has its own."""

WORKERS = tuple(f"worker {i}" for i in range(MOST_WORKERS))
"""The threads in which the server answers uploads; `he.engine`."""


class Tracer(Ledger):
    """A ledger that also writes messages and steps into the lists of both roles."""

    def __init__(
        self,
        events: dict[str, list[Event]],
        begun: Callable[[Place], None],
        ended: Callable[[Place], None],
    ) -> None:
        super().__init__()
        self.visits: list[Place] = []
        self._events = events
        self._begun = begun
        self._ended = ended

    @contextmanager
    def at(self, place: Place) -> Iterator[Cost]:
        visit = len(self.visits)
        self.visits.append(place)
        self._both(Mark((visit, "begun")))
        with super().at(place) as cost:
            self._begun(place)
            yield cost
            self._ended(place)
        self._both(Mark((visit, "ended")))

    def _both(self, event: Event) -> None:
        for role in Role:
            self._events[role.value].append(event)

    def said(self, sizes: Mapping[Role, int]) -> Flight:
        flight = super().said(sizes)
        for role, size in sizes.items():
            self._events[role.value].append(Send((role, flight.number), size))
        return flight

    def heard(self, flight: Flight) -> None:
        super().heard(flight)
        for role in flight.ticks:
            self._events[role.other.value].append(Await((role, flight.number)))


class Meter(Party):
    """A priced party that counts the work of a plan and writes down who does what.

    Args:
        rates: turn the work into seconds; None where it is only to be counted.
        ready: what earlier programs of the connection have set up.
        check_ot: whether OT extension is checked: the messages are counted, the work of it is not.

    Attributes:
        work: units of work by place and role.
        events: what each actor does, in order.
        tracer: the ledger.
    """

    def __init__(
        self, plan: Plan, rates: Rates | None, ready: Ready = NOTHING, *, check_ot: bool = False
    ) -> None:
        self.events: dict[str, list[Event]] = {name: [] for name in (SERVER.value, CLIENT.value, *WORKERS)}
        self.work: dict[tuple[Place, Role], Units] = defaultdict(lambda: defaultdict(float))
        self._plan = plan
        self._rates = rates
        self._here = Place("", "")
        self._walked: set[Place] = set()
        super().__init__(None, engines=lambda p: _engines(self, ready, check_ot))
        self.begin()

    def begin(self) -> Ledger:
        self._walked.clear()
        self.ledger = self.tracer = Tracer(self.events, self._begin, self._end)
        return self.tracer

    @property
    def workers(self) -> tuple[str, ...]:
        """The server's threads for answers."""
        return WORKERS[: workers(self._rates.cores)] if self._rates is not None else WORKERS[:1]

    def does(self, role: Role, units: Units, actor: str = "") -> float:
        """``role``, or its thread ``actor``, does this much work before anything else; its seconds."""
        place = self._here
        counted, seconds = self.work[place, role], 0.0
        kind = place.what if place.number is not None else ""
        for unit, n in units.items():
            counted[unit] += n
            if self._rates is not None:
                seconds += n * self._rates.seconds(place.phase, kind, role, unit)
        if seconds:
            self.events[actor or role.value].append(Work(seconds))
        return seconds

    @contextmanager
    def spread(self, size: int = 0, work: Mapping[Role, Units] | None = None) -> Iterator[None]:
        """Messages of ``size`` bytes in all, with which the roles do their ``work`` by and by."""
        each = {role: _times((work or {}).get(role, {}), 1 / max(1, size)) for role in Role}
        outside = _SPREAD.set(each)
        try:
            yield
        finally:
            _SPREAD.reset(outside)

    def exchange(self, messages: Sequence[Message]) -> list[Buffer | None]:
        work = _SPREAD.get() or {role: {"byte": 1.0} for role in Role}
        sizes = [(speaker, packed_size(count, bits)) for speaker, bits, count, _ in messages]
        for speaker, size in sizes:
            self.does(speaker, _times(work[speaker], size))
        said = super().exchange(messages)
        for speaker, size in sizes:
            self.does(speaker.other, _times(work[speaker.other], size))
        return said

    def tell_all(self, parts: Sequence[tuple[Role, Part]]) -> list[Ring | None]:
        for speaker, (_, shape, _) in parts:
            self.does(speaker, {"said": prod(shape)})
        with self.spread():
            said = super().tell_all(parts)
        for speaker, (_, shape, _) in parts:
            self.does(speaker.other, {"heard": prod(shape)})
        return said

    def swap_all(self, parts: Sequence[Part]) -> list[tuple[Ring | None, Ring | None]]:
        for role in Role:
            self.does(role, {"swapped": sum(prod(shape) for _, shape, _ in parts)})
        with self.spread():
            return super().swap_all(parts)

    def swap_packed(
        self, parts: Sequence[tuple[int, int, Callable[[], Buffer]]]
    ) -> list[tuple[Buffer | None, Buffer | None]]:
        with self.spread():
            return super().swap_packed(parts)

    def _begin(self, place: Place) -> None:
        """What is learned of a plan when a connection begins is kept for all later programs."""
        self._here = place
        if place == HANDSHAKE:
            for role in Role:
                self.does(role, {"walk": len(self._plan.steps)})

    def _end(self, place: Place) -> None:
        """The work of a step that comes with no message: once, however often it goes on."""
        if place.number is not None and place not in self._walked:
            self._walked.add(place)
            step = self._plan.steps[place.number]
            sizes = [self._plan.forms[j].size for j in (place.number, *step.reads())]
            for role in Role:
                more = step_work(step, sizes, role) if place.phase == "online" else {}
                self.does(role, {"step": 1, **more})
        self._here = Place("", "")


def _engines(p: Meter, ready: Ready, check_ot: bool) -> Engines:
    sets = [each for each in ready.keys if isinstance(each, HeParams)]
    pools = {role: _MeterPool(p, role, role in ready.cots, check_ot) for role in Role}
    return Engines(pools, _MeterHe(p, sets), Ahead(dict(ready.ahead)))


class _MeterPool(Pool):
    """Counts COTs as they are made and as they are taken."""

    def __init__(self, p: Meter, sender: Role, ready: bool, check: bool) -> None:
        super().__init__(p, sender, ready=ready, check=check)
        self._meter = p

    def plan(self, count: int) -> None:
        base: dict[Role, Units] = {
            self.sender: {"base_receive": COLUMNS},
            self.sender.other: {"base_send": COLUMNS},
        }
        with self._meter.spread(POINT * (1 + COLUMNS), base):
            super().plan(count)

    def take(self, count: int) -> tuple[int, Ring | None]:
        out = super().take(count)
        self._meter.does(self.sender, {"key": count})
        self._meter.does(self.sender.other, {"choice": count})
        return out

    def _extend(self) -> None:
        kind, wanted = self._todo[0]
        lpn, meter = SETS.get(kind), self._meter
        receiver = self.sender.other
        if lpn is None:
            meter.does(receiver, {"iknp_receive": wanted})
            with meter.spread():
                super()._extend()
            meter.does(self.sender, {"iknp_send": wanted})
            return
        meter.does(self.sender, {"silent_send": lpn.made})
        # With its message, and so before what a check says of the leaves.
        with meter.spread(lpn.says(self.checked), {receiver: {"silent_receive": lpn.made}}):
            super()._extend()


class _MeterHe(HeEngine):
    """Counts the work of keys, uploads and answers, these in the server's worker that is free first."""

    def __init__(self, p: Meter, ready: Iterable[HeParams]) -> None:
        super().__init__(p, ready=ready)
        self._meter = p
        self._numbers = count()
        self._busy = dict.fromkeys(p.workers, 0.0)

    def plan(self, products: Sequence[MatrixProduct]) -> None:
        new = [each for each in parameter_sets(map(_product, products)) if each not in self.ready]
        keys = sum(params.key_residues for params in new)
        self._meter.does(CLIENT, {"he_key_make": keys})
        with self._meter.spread():
            super().plan(products)
        self._meter.does(SERVER, {"he_key_read": keys})

    def begin(self, product: MatrixProduct, right: Right) -> _MeteredAnswer:
        meter, made = self._meter, _product(product)
        with meter.spread(upload_bytes(made), {CLIENT: made.work["upload"]}):
            pending = super().begin(made, right)
        job, parts = next(self._numbers), len(answer_parts(made))
        worker = min(self._busy, key=self._busy.__getitem__)
        meter.events[SERVER.value].append(Send(("job", job)))
        meter.events[worker].append(Await(("job", job)))
        for part in range(parts):
            work = _times(made.work["answer"], 1 / parts)
            self._busy[worker] += meter.does(SERVER, work, worker)
            meter.events[worker].append(Send(("answer", job, part)))
        return _MeteredAnswer(**vars(pending), meter=meter, job=job)


@dataclass(frozen=True, repr=False)
class _MeteredAnswer(PendingAnswer):
    meter: Meter
    job: int

    def finish(self) -> None:
        for part in range(len(answer_parts(self.product))):
            self.meter.events[SERVER.value].append(Await(("answer", self.job, part)))
        with self.meter.spread():
            super().finish()
        self.meter.does(CLIENT, self.product.work["finish"])


def _product(product: MatrixProduct) -> Product:
    assert isinstance(product, Product)
    return product


def step_work(step: Step, sizes: Sequence[int], role: Role) -> Units:
    """What a role computes online whatever it says: elements of the largest value, products of matrices.

    ``sizes`` are those of the step's value and of what it reads.
    """
    work: Units = {"element": max(sizes)}
    if isinstance(step, MatMul) or (isinstance(step, Linear) and role is SERVER):
        work["mac"] = sum(sizes[0] * made.k for made in step.products())
    return work


def metered(plan: Plan, rates: Rates | None, program: Program = FRESH) -> Meter:
    """The program as a meter walks it; with ``rates`` None the work is only counted."""
    p = Meter(plan, rates, program.ready, check_ot=program.check_ot)
    rehearse(p, plan, program)
    return p


def _times(units: Mapping[str, float], factor: float) -> Units:
    return {unit: n * factor for unit, n in units.items()}
