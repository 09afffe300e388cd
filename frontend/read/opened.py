"""Whole numbers of the model that an operator needs in the open, because no protocol computes it on shares.

    And, Equal, Mod and the like, arithmetic on whole numbers    what meets the client's
    Gather, OneHot                                               places, and a table of whole numbers
    Where                                                        the condition over a mask of the client's

Only whole numbers and truth values are ever opened, which the file holds as such or which come of single
numbers (``Const.may_open``); never a float, nor what derives from a tensor of floats. All that is opened is
told: in the log, and by the list of what a plan makes public.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from ppc.frontend.ir import ops
from ppc.frontend.ir.graph import BOOL, INT, Graph, Op, Owner, walk, walk_from
from ppc.frontend.ir.owners import Owners
from ppc.frontend.read.formula import FILLER


@dataclass(frozen=True)
class Opened:
    """A tensor of the model, and the operator that needs it."""

    name: str
    shape: tuple[int, ...]
    operator: str


class Opening:
    """What stands for each op once its operands are in the open as far as it needs them; remembered, so that
    a model is gone through once."""

    def __init__(self) -> None:
        self.owners = Owners()
        self._made: dict[Op, Op] = {}
        self._public: dict[ops.Const, ops.Const] = {}
        self._found: dict[Op, Opened] = {}

    def found(self, graph: Graph) -> list[Opened]:
        """What of the model is in the open in ``graph``, in its order."""
        return list(dict.fromkeys(self._found[op] for op in walk(graph) if op in self._found))

    def of(self, op: Op) -> Op:
        if op not in self._made:
            made = self._opened(op.replace(self.of(each) for each in op.operands))
            self._made[op] = self._made[made] = made
        return self._made[op]

    def _opened(self, op: Op) -> Op:
        if isinstance(op, ops.Opaque) or self.owners[op] is not Owner.SHARED:
            return op
        asked = set(self._asked(op))
        return op.replace(
            self.public(each, type(op).__name__) if each in asked else each for each in op.operands
        )

    def _asked(self, op: Op) -> Iterator[Op]:
        """The operands that ``op`` needs in the open where one party alone is to compute it."""
        match op:
            case ops.Where(condition=condition, a=a, b=b) if op.type.num not in (INT, BOOL):
                fills = any(isinstance(each, ops.Const) and _fills(each) for each in (a, b))
                if fills and not self.owners.shared(a) and not self.owners.shared(b):
                    yield condition
            case _:
                yield from (each for each in op.operands if each.type.num in (INT, BOOL))

    def public(self, op: Op, operator: str) -> Op:
        """``op`` in the open, or itself where it or something of it may not be."""
        if op.type.num not in (INT, BOOL):
            return op
        held = [each for each in walk_from(op) if not each.operands]
        if not all(isinstance(each, ops.Const) and (each.may_open or not each.secret) for each in held):
            return op
        new: dict[Op, Op] = {}
        for each in walk_from(op):
            if isinstance(each, ops.Const) and each.secret:
                new[each] = bare = self._public.setdefault(each, replace(each, secret=False, may_open=False))
                self._found.setdefault(bare, Opened(each.name, each.type.shape, operator))
            else:
                new[each] = each.replace(new[operand] for operand in each.operands)
        return new[op]


_FEW = 3


def told(found: Sequence[Opened]) -> Iterator[str]:
    """The same for people, a line for each operator."""
    by: dict[str, list[Opened]] = {}
    for each in found:
        by.setdefault(each.operator, []).append(each)
    for operator, several in by.items():
        numbers = sum(math.prod(each.shape) for each in several)
        names = [each.name or "a constant" for each in several[:_FEW]] + ["…"] * (len(several) > _FEW)
        what = f"{numbers:,} whole numbers of the model, in the open for {operator}"
        yield f"public: {what}: {', '.join(names)}"


def _fills(constant: ops.Const) -> bool:
    """Whether it fills up a mask: minus infinity, or as good."""
    return bool(np.any(np.abs(constant.value) >= FILLER))
