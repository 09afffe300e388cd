"""The chain of steps that no amount of sharing flights can shorten."""

from __future__ import annotations

from collections.abc import Mapping

import networkx as nx

from ppc.runtime.party.ledger import Cost, Place
from ppc.runtime.plan.file import Plan


def critical_path(plan: Plan, rows: Mapping[Place, Cost]) -> tuple[int, list[int]]:
    """(online flights, steps) of the longest chain of steps that read one another.

    A run walks the steps in order; its flights are those of the chain where all else fits beside it.
    """
    graph = nx.DiGraph()
    for i, step in enumerate(plan.steps):
        graph.add_node(i)
        flights = rows[plan.place("online", i)].flights
        for j in step.reads():
            graph.add_edge(j, i, flights=flights)
    path = nx.dag_longest_path(graph, weight="flights", default_weight=0)
    return sum(rows[plan.place("online", i)].flights for i in path), path
