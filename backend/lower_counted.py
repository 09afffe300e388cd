"""Factors that follow from how many rows are kept: both sides know them, so that a product by one is free.

A rotary embedding turns a new token by its place. To a model that knows but distances that may be the row's
number (`generation.py`), and then the plan has the factors for every number of rows.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from ppc.backend.lowering import fixed, integers, readers
from ppc.frontend.ir import ops
from ppc.frontend.ir.constant import Const
from ppc.frontend.ir.graph import Graph, Input, Op, Owner, walk, walk_from
from ppc.frontend.ir.reference import evaluate
from ppc.runtime.base.ring import Fixed

MOST = 1 << 17
"""Numbers that one table may have: more rows than that and the client enters its factor."""


def by_rows(
    graph: Graph, owner: Mapping[Op, Owner], carried: Mapping[str, int]
) -> dict[Op, NDArray[np.int64]]:
    """The factors of products with what is shared that nothing else reads, as integers in their format by the
    number of rows that are kept, (rows + 1, *shape)."""
    held = {each.type.shape[carried[each.name]] for each in graph.inputs if each.carried}
    if not held or not any(each.counted for each in graph.inputs):
        return {}
    read_by, results = readers(graph), set(graph.outputs.values())

    def is_factor(op: Op) -> bool:
        return (
            isinstance(op.type.num, Fixed)
            and owner[op] is Owner.CLIENT
            and op not in results
            and all(
                isinstance(by, ops.Mul) and by.a is not by.b and owner[by] is Owner.SHARED
                for by in read_by[op]
            )
            and all(each.counted for each in walk_from(op) if isinstance(each, Input))
        )

    found = dict[Op, NDArray[np.int64]]()
    for op in walk(graph):
        if not isinstance(op, Input | Const) and (max(held) + 1) * op.type.size <= MOST and is_factor(op):
            found[op] = _table(op, max(held))
    return found


def _table(op: Op, held: int) -> NDArray[np.int64]:
    real = op.x if isinstance(op, ops.Cast) else op
    inputs = tuple(each for each in walk_from(real) if isinstance(each, Input))
    graph = Graph(inputs, {"factor": real})
    rows = [
        np.broadcast_to(
            evaluate(graph, {each.name: np.full(each.shape, count) for each in inputs})["factor"],
            op.type.shape,
        )
        for count in range(held + 1)
    ]
    return integers(np.stack(rows), fixed(op))
