"""`two`: run a protocol at both roles with OT pools of just the size that its price says."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest

from ppc.runtime.ot.pool import Pool
from ppc.runtime.party.ledger import Cost, Ledger
from ppc.runtime.party.party import Party, priced, together
from ppc.runtime.party.role import CLIENT, SERVER, Role
from ppc.runtime.protocols.random_ot import CountingPool


@dataclass(frozen=True)
class Result:
    server: Any
    client: Any
    cost: Cost
    predicted: Cost


def _pooled(program: Callable[[Party], Any], counts: dict[Role, int]) -> Callable[[Party], Any]:
    def run(p: Party) -> Any:
        p.pools = {role: Pool(role, counts[role]) for role in Role}
        for pool in p.pools.values():
            pool.setup(p)
        with p.ledger.at("test", "program"):
            return program(p)

    return run


def _count(program: Callable[[Party], Any]) -> dict[Role, int]:
    party = Party(None)
    pools = {role: CountingPool() for role in Role}
    party.pools = pools  # type: ignore[assignment]
    program(party)
    return {SERVER: pools[SERVER].taken, CLIENT: pools[CLIENT].taken}


@pytest.fixture
def two() -> Callable[[Callable[[Party], Any]], Result]:
    def run(program: Callable[[Party], Any]) -> Result:
        pooled = _pooled(program, _count(program))
        predicted: Ledger = priced(pooled)
        server, client, ledger = together(pooled)
        key = ("test", "program")
        measured, foretold = ledger.rows[key], predicted.rows[key]
        assert (measured.server, measured.client, measured.flights) == (
            foretold.server,
            foretold.client,
            foretold.flights,
        )
        return Result(server, client, measured, foretold)

    return run
