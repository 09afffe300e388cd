"""Two ops that are the same function of the same values are one op: f(x), f(x) -> f(x).

Exporters write a constant wherever it is used, and some compute x − mean(x) twice; patterns compare values by
identity and want it once.
"""

from __future__ import annotations

from collections.abc import Hashable

from ppc.frontend.ir.graph import Graph, Input, Op
from ppc.frontend.ir.ops import Const
from ppc.passes.rewrite import Rewritten, Rule, Uses, apply

_COMPARED = 4096
"""Constants up to this many elements are compared by value, larger ones by identity."""


def merge_equal(graph: Graph) -> Rewritten:
    """The graph with every value computed once; of equal ops the first keeps its name."""
    return apply(merging(), graph)


def merging() -> Rule:
    """The rule, with a memory of its own of what it has seen."""
    first: dict[Hashable, Op] = {}

    def merge(op: Op, uses: Uses) -> Op | None:
        return None if isinstance(op, Input) else first.setdefault(_key(op), op)

    return merge


def _key(op: Op) -> Hashable:
    if isinstance(op, Const):
        value = op.value
        same = value.tobytes() if value.size <= _COMPARED else id(value)
        return (Const, op.type, value.dtype.str, op.secret, same)
    # An Op is hashed by identity, and lives as long as this key does.
    return (type(op), tuple(op.attributes.items()), op.operands)
