"""Who knows a value, from the leaves up.

own(Input) = client, or public or shared as it is declared    own(Const) = server if secret, else public
own(op)    = join of its operands:  public ⊔ x = x,  x ⊔ x = x,  client ⊔ server = shared
"""

from __future__ import annotations

from functools import reduce
from operator import or_

from ppc.frontend.ir.constant import Const
from ppc.frontend.ir.graph import Input, Op, Owner, walk_from


class Owners(dict[Op, Owner]):
    """``owners[op]`` of a graph that is being made or rewritten: found when it is first asked for, and
    remembered, so that asking for every op costs one walk."""

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
            return Owner.PUBLIC if op.public else Owner.SHARED if op.carried else Owner.CLIENT
        if isinstance(op, Const):
            return Owner.SERVER if op.secret else Owner.PUBLIC
        return reduce(or_, (self[each] for each in op.operands), Owner.PUBLIC)
