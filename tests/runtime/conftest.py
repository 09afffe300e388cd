"""`two`: run a protocol at both roles with OT pools of just the size that its price says."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest

from ppc.runtime.he.engine import HeEngine
from ppc.runtime.party.ledger import Cost, Ledger, Place
from ppc.runtime.party.party import Party, priced, together
from ppc.runtime.party.ports import Engines
from ppc.runtime.party.role import Role
from ppc.runtime.session.engines import CountingSource, standard


@dataclass(frozen=True)
class Result:
    server: Any
    client: Any
    cost: Cost
    predicted: Cost


def _planned(program: Callable[[Party], Any], counts: dict[Role, int]) -> Callable[[Party], Any]:
    def run(p: Party) -> Any:
        for role, pool in p.cots.items():
            pool.plan(counts[role])
        with p.ledger.at(Place("test", "program")):
            return program(p)

    return run


def _count(program: Callable[[Party], Any]) -> dict[Role, int]:
    sources = {role: CountingSource(role) for role in Role}
    program(Party(None, engines=lambda p: Engines(sources, HeEngine(p))))
    return {role: source.taken for role, source in sources.items()}


@pytest.fixture
def two() -> Callable[[Callable[[Party], Any]], Result]:
    def run(program: Callable[[Party], Any]) -> Result:
        planned = _planned(program, _count(program))
        predicted: Ledger = priced(planned, standard)
        server, client, ledger = together(planned, standard)
        key = Place("test", "program")
        measured, foretold = ledger.rows[key], predicted.rows[key]
        assert (measured.server, measured.client, measured.flights) == (
            foretold.server,
            foretold.client,
            foretold.flights,
        )
        return Result(server, client, measured, foretold)

    return run
