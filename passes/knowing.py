"""Who knows a value, asked op by op while a graph is being rewritten."""

from __future__ import annotations

from ppc.frontend.ir.graph import Input, Op, Owner, walk_from
from ppc.frontend.ir.ops import Const


class Owners:
    """``owners(op)``; remembered, so that asking for every op of a graph costs one walk."""

    def __init__(self) -> None:
        self._known: dict[Op, Owner] = {}

    def __call__(self, op: Op) -> Owner:
        if op not in self._known:
            if all(each in self._known for each in op.operands):
                self._known[op] = self._of(op)
            else:
                for each in walk_from(op):
                    if each not in self._known:
                        self._known[each] = self._of(each)
        return self._known[op]

    def shared(self, op: Op) -> bool:
        return self(op) is Owner.SHARED

    def _of(self, op: Op) -> Owner:
        match op:
            case Input(public=public):
                return Owner.PUBLIC if public else Owner.CLIENT
            case Const(secret=secret):
                return Owner.SERVER if secret else Owner.PUBLIC
        owner = Owner.PUBLIC
        for each in op.operands:
            owner |= self._known[each]
        return owner
