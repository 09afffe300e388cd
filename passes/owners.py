"""Who knows what: an owner for every value, from the leaves up.

    own(Input) = client, or public where it is declared so        own(Const) = server if secret, else public
    own(op)    = join of its operands:  public ⊔ x = x,  x ⊔ x = x,  client ⊔ server = shared

What the client owns it computes alone, for nothing; what the server owns is folded at compile time; only what
is shared costs anything.
"""

from __future__ import annotations

from functools import reduce
from operator import or_

from ppc.frontend.ir.graph import Graph, Input, Op, Owner, walk, walk_from
from ppc.frontend.ir.ops import Const


def owners(graph: Graph) -> dict[Op, Owner]:
    """The owner of every op of the graph, in the order of ``walk``."""
    known = Owners()
    return {op: known[op] for op in walk(graph)}


class Owners(dict[Op, Owner]):
    """``owners[op]`` of a graph that is being rewritten: found when it is first asked for, and remembered, so
    that asking for every op costs one walk."""

    def __missing__(self, op: Op) -> Owner:
        if not all(each in self for each in op.operands):
            for each in walk_from(*op.operands):
                if each not in self:
                    self[each] = self._of(each)
        self[op] = self._of(op)
        return self[op]

    def shared(self, op: Op) -> bool:
        return self[op] is Owner.SHARED

    def _of(self, op: Op) -> Owner:
        if isinstance(op, Input):
            return Owner.PUBLIC if op.public else Owner.CLIENT
        if isinstance(op, Const):
            return Owner.SERVER if op.secret else Owner.PUBLIC
        return reduce(or_, (self[each] for each in op.operands), Owner.PUBLIC)
