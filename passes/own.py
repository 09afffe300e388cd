"""Who knows what: an owner for every value, from the leaves up.

    own(Input) = client, or public where it is declared so        own(Const) = server if secret, else public
    own(op)    = join of its operands:  public ⊔ x = x,  x ⊔ x = x,  client ⊔ server = shared

What the client owns it computes alone, for nothing; what the server owns is folded at compile time; only what
is shared costs anything.
"""

from __future__ import annotations

from functools import reduce
from operator import or_

from ppc.frontend.ir.graph import Graph, Input, Op, Owner, walk
from ppc.frontend.ir.ops import Const


def owners(graph: Graph) -> dict[Op, Owner]:
    """The owner of every op of the graph, in the order of ``walk``."""
    found: dict[Op, Owner] = {}
    for op in walk(graph):
        found[op] = _owner(op, found)
    return found


def _owner(op: Op, found: dict[Op, Owner]) -> Owner:
    if isinstance(op, Input):
        return Owner.PUBLIC if op.public else Owner.CLIENT
    if isinstance(op, Const):
        return Owner.SERVER if op.secret else Owner.PUBLIC
    return reduce(or_, (found[each] for each in op.operands), Owner.PUBLIC)
