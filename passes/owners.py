"""Who knows a value, for every op of a graph.

What the client owns it computes alone, for nothing; what the server owns is folded at compile time; only what
is shared costs anything.
"""

from __future__ import annotations

from ppc.frontend.ir.graph import Graph, Op, Owner, walk
from ppc.frontend.ir.owners import Owners

__all__ = ["Owners", "owners"]


def owners(graph: Graph) -> dict[Op, Owner]:
    """The owner of every op of the graph, in the order of ``walk``."""
    known = Owners()
    return {op: known[op] for op in walk(graph)}
