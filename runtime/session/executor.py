"""Walks a plan: setup, offline, online. The same walk with nobody at home is its price."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..base.share import Share
from ..he.engine import HeSession
from ..ot.pool import Pool
from ..party.ledger import Ledger
from ..party.party import Party
from ..party.role import CLIENT, SERVER, Role
from ..plan.file import Plan, Weights
from ..plan.local import run_local
from ..plan.steps import Form, Output, Step
from ..protocols.random_ot import CountingPool
from .inputs import check_inputs

Array = NDArray[Any]
Progress = Callable[[str, int, int], None]
"""Called with (phase, steps done, steps in all)."""


class Run:
    """The state of one inference at one party."""

    def __init__(self, plan: Plan, weights: Weights | None = None, local: list[Array] | None = None) -> None:
        self.plan = plan
        self.forms: list[Form] = plan.forms
        self.local = local or []
        self._weights = weights
        self._values: dict[int, Any] = {}
        self._index = {id(step): i for i, step in enumerate(plan.steps)}
        self._last = {j: i for i, step in enumerate(plan.steps) for j in step.reads()}

    def weight(self, name: str) -> NDArray[np.int64]:
        if self._weights is None:
            raise RuntimeError("only the server holds weights")
        return self._weights[name].astype(np.int64, copy=False)

    def form_of(self, step: Step) -> Form:
        return self.forms[self._index[id(step)]]

    def share(self, index: int) -> Share:
        value: Share = self._values[index]
        return value

    def clear(self, index: int) -> NDArray[np.int64]:
        value: NDArray[np.int64] = self._values[index]
        return value

    def put(self, index: int, value: Any) -> None:
        """Store value ``index`` and forget those that nothing later reads."""
        self._values[index] = value
        for j in self.plan.steps[index].reads():
            if self._last[j] == index:
                self._values.pop(j, None)
        if index not in self._last and not isinstance(self.plan.steps[index], Output):
            self._values.pop(index, None)


@dataclass(frozen=True)
class Counts:
    """Correlated OTs that one inference takes, by sender."""

    server: int
    client: int


def count_ots(plan: Plan) -> Counts:
    """Walk the plan once without data and see what it asks of the pools."""
    pools, _ = _hollow(plan)
    return Counts(pools[SERVER].taken, pools[CLIENT].taken)


def hollow(plan: Plan) -> list[Any]:
    """What `offline` leaves for `online`, without data: to price an inference whose material is prepared."""
    return _hollow(plan)[1]


def _hollow(plan: Plan) -> tuple[dict[Role, CountingPool], list[Any]]:
    party = Party(None)
    pools = {role: CountingPool() for role in Role}
    party.pools = pools  # type: ignore[assignment]
    party.he = HeSession(party, ())
    return pools, offline(party, Run(plan))


def price(plan: Plan) -> Ledger:
    """Bytes and flights of every step, as `run` will measure them."""
    party = Party(None)
    run_phases(party, plan, None, None)
    return party.ledger


def setup(p: Party, plan: Plan, inferences: int = 1) -> None:
    """Base OTs both ways and the client's public HE keys, for so many offline phases."""
    counts = count_ots(plan)
    p.pools = {
        SERVER: Pool(SERVER, inferences * counts.server),
        CLIENT: Pool(CLIENT, inferences * counts.client),
    }
    for role, pool in p.pools.items():
        with p.ledger.at("setup", f"base OTs, sender {role.value}"):
            pool.setup(p)
    with p.ledger.at("setup", "HE public keys"):
        p.he = HeSession(p, plan.products)


def offline(p: Party, run: Run, progress: Progress | None = None) -> list[Any]:
    """Material for every step: all uploads in one flight, then step by step."""
    plan, begun = run.plan, []
    for i, step in enumerate(plan.steps):
        with p.ledger.at("offline", plan.label(i)):
            begun.append(step.begin(p, run))
    made: list[Any] = []
    for i, step in enumerate(plan.steps):
        with p.ledger.at("offline", plan.label(i)):
            made.append(step.offline(p, run, begun[i]))
            begun[i] = None
        if progress:
            progress("offline", i + 1, len(plan.steps))
    return made


def online(p: Party, run: Run, made: list[Any], progress: Progress | None = None) -> dict[str, Array] | None:
    """The outputs by name, at the client."""
    plan, results = run.plan, {}
    for i, step in enumerate(plan.steps):
        with p.ledger.at("online", plan.label(i)):
            value = step.online(p, run, made[i])
            made[i] = None
            run.put(i, value)
            if isinstance(step, Output) and p.role is CLIENT:
                results[i] = value.num.decode(value.ring)
        if progress:
            progress("online", i + 1, len(plan.steps))
    if p.role is not CLIENT:
        return None
    return {o.name: results[o.value].reshape(o.shape) for o in plan.outputs}


def run_phases(
    p: Party,
    plan: Plan,
    weights: Weights | None,
    feeds: Mapping[str, Array] | None,
    progress: Progress | None = None,
) -> dict[str, Array] | None:
    """Setup, offline and online in one go."""
    local = run_local(plan.local, check_inputs(plan, feeds)) if feeds is not None else None
    setup(p, plan)
    run = Run(plan, weights, local)
    return online(p, run, offline(p, run, progress), progress)
