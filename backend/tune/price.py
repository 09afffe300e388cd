"""What a graph costs two parties, by the ledger of the plan that it lowers to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from numpy.typing import NDArray

from ppc import passes
from ppc.backend.choose import worth
from ppc.backend.cost import predict_seconds
from ppc.backend.lower import lower
from ppc.frontend.ir.graph import Graph
from ppc.runtime.net.network import Network
from ppc.runtime.plan.file import Options, Plan


@dataclass(frozen=True)
class Price:
    """Of an inference, its offline part included and a connection's setup left out: bytes both ways, and
    predicted seconds."""

    bytes: int
    seconds: float

    def __str__(self) -> str:
        return f"{self.bytes / 1e6:.2f} MB, {self.seconds:.2f} s"

    def __sub__(self, other: Price) -> Price:
        return Price(self.bytes - other.bytes, self.seconds - other.seconds)


def planned(
    graph: Graph,
    feeds: Sequence[Mapping[str, NDArray[Any]]] | None,
    network: Network,
    max_error: float | None = None,
) -> Plan:
    """The graph as it stands as a plan, calibrated on ``feeds``, or on random inputs where there are none;
    with ``max_error`` in as many bits as that asks for, if some do."""
    state = passes.run(graph, passes.Options(max_error=max_error, insist=False), feeds)
    options = Options(byte_price=network.byte_price, flight=worth(network))
    return lower(
        state.graph,
        model=graph.name,
        profile="exact",
        options=options,
        inputs=state.inputs,
        watched=state.watched,
    )[0]


def price(plan: Plan, network: Network) -> Price:
    cost = predict_seconds(plan, network)
    rows = [cost for place, cost in cost.rows.items() if place.phase != "setup"]
    seconds = sum(parts.seconds for phase, parts in cost.phases.items() if phase != "setup")
    return Price(sum(each.bytes for each in rows), seconds)
