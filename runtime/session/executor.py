"""Walks a plan: setup, offline, online, where steps take turns. It alone resolves what a step reads.

The same walk by a party without a role is a *dry run*: no data, and every message booked.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import count
from math import inf
from typing import Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from ..base.ring import Integers
from ..base.share import Share
from ..party.ledger import Place
from ..party.party import Party
from ..party.role import CLIENT, Role
from ..plan.file import Outputs, Plan, Weights
from ..plan.free import Encoded
from ..plan.steps import Form, Step
from .cache import Cache
from .held import Held

Floats = NDArray[np.float64]
Value = TypeVar("Value")

Progress = Callable[[str, int, int], None]
"""Called with (phase, steps done, steps in all)."""


@dataclass(frozen=True, repr=False)
class Answer:
    """The outputs by name, and what left its limits on the way (`Plan.left`): they mean nothing then."""

    outputs: Outputs
    left: tuple[str, ...] = ()


class Values(Generic[Value]):
    """The values of a plan's steps while it is walked; each is forgotten after its last reader."""

    def __init__(self, plan: Plan) -> None:
        self._steps = plan.steps
        self._readers = Counter(j for step in plan.steps for j in set(step.reads()))
        self._values: dict[int, Value] = {}

    def __repr__(self) -> str:
        return f"Values({len(self._values)} alive, <secret>)"

    def read(self, index: int) -> list[Value]:
        """What step ``index`` reads."""
        return [self._values[j] for j in self._steps[index].reads()]

    def put(self, index: int, value: Value) -> None:
        if self._readers[index]:
            self._values[index] = value
        for j in set(self._steps[index].reads()):
            self._readers[j] -= 1
            if not self._readers[j]:
                self._values.pop(j, None)


def setup(p: Party, cots: Mapping[Role, int], plan: Plan, inferences: int = 1) -> None:
    """What ``inferences`` offline phases need of a connection and it does not have yet: base OTs and keys.

    ``cots`` are the correlated OTs that one of them takes, by sender.
    """
    for role, source in p.cots.items():
        with p.ledger.at(Place("setup", f"base OTs, sender {role.value}")):
            source.plan(inferences * cots[role])
    with p.ledger.at(Place("setup", "HE public keys")):
        p.linear.plan(plan.products)


def offline(
    p: Party,
    plan: Plan,
    weights: Weights | None = None,
    progress: Progress | None = None,
    *,
    memory: float = inf,
    made: Held | None = None,
) -> Held:
    """Material for every step: all uploads in one flight, then step by step; but for what an earlier program
    has made together with its own. ``weights`` are the server's, ``memory`` is what `Held` may hold, and what
    of uploads may wait in memory. It is put behind what is ``made`` already, where that is given."""
    p.linear.hold(memory)
    steps: Sequence[Step] = plan.steps
    begun: list[object] = [None] * len(steps)
    for i, step in enumerate(steps):
        if not p.ahead.has((plan.hash, i)):
            with p.ledger.at(plan.place("offline", i)):
                begun[i] = step.begin(p, *_forms(plan, step), *_tensors(step, weights))
    made = Held(memory) if made is None else made
    for i, step in enumerate(steps):
        with p.ledger.at(plan.place("offline", i)):
            if not p.ahead.has(key := (plan.hash, i)):
                own = step.offline(p, begun[i], *_forms(plan, step), *_tensors(step, weights))
                p.ahead.put(key, step.apart(own))
            made.put(p.ahead.take(key))
            begun[i] = None
        if progress:
            progress("offline", i + 1, len(steps))
    return made


def online(
    p: Party,
    plan: Plan,
    made: Held,
    weights: Weights | None = None,
    encoded: Mapping[int, Encoded] | None = None,
    progress: Progress | None = None,
    values: Values[Share] | None = None,
    cache: Cache | None = None,
) -> Answer | None:
    """The answer, at the client. Steps that do not read one another share flights. ``made`` is used up.

    ``weights`` are the server's, ``encoded`` the client's own values by the step at which they enter;
    ``values`` is for who wants to see what is put there. ``cache`` has what earlier programs kept, and gets
    what this one keeps.
    """
    cache = Cache() if cache is None else cache
    steps: Sequence[Step] = plan.steps
    values = Values(plan) if values is None else values
    revealed: dict[int, Floats] = {}
    done = count(1)

    def walk(i: int) -> None:
        step = steps[i]
        own = [None if encoded is None else encoded[i] for _ in step.locals()]
        opened = [cache.rows, cache.opened((plan.hash, i))] if step.opens() else []
        operands = (*values.read(i), *_tensors(step, weights), *own, *cache.recalled(step), *opened)
        value = step.online(p, plan.forms[i], made.take(i), *operands)
        values.put(i, value)
        cache.keep(step, value.data)
        if step.reveals() and p.role is CLIENT:
            revealed[i] = value.num.decode(value.ring)
        if progress:
            progress("online", next(done), len(steps))

    p.turns.walk([step.reads() for step in steps], walk, lambda i: p.ledger.at(plan.place("online", i)))
    if p.role is not CLIENT:
        return None
    return Answer(plan.named(revealed), () if plan.guard is None else plan.left(revealed[plan.guard]))


def _forms(plan: Plan, step: Step) -> list[Form]:
    return [plan.forms[j] for j in step.reads()]


def _tensors(step: Step, weights: Weights | None) -> list[Integers | None]:
    """The server's tensors that a step takes; None where this party has none."""
    return [None if weights is None else weights[name] for name in step.weights()]
