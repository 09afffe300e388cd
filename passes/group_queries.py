"""q @ repeat(k) -> q's heads that share k as rows of one product: (g heads, m, d) @ k is (g·m, d) @ k.

Grouped queries read each key and value g times. As matrices of their own the repeated ones would each be
masked and opened, and their masks encrypted; as one matrix they are so once. It is done in fixed point, when
all that looks for products by their form is over.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from ppc.frontend.ir import ops
from ppc.frontend.ir.graph import Graph, Op, walk


def group_queries(graph: Graph) -> Mapping[Op, Op]:
    """What stands for every op of the graph, itself where nothing below it is changed."""
    new: dict[Op, Op] = {}
    for op in walk(graph):
        made = op.replace(new[each] for each in op.operands)
        new[op] = _grouped(made) if isinstance(made, ops.MatMul) else made
    return new


def _grouped(op: ops.MatMul) -> Op:
    once = _unrepeated(op.b)
    if once is None or op.a.type.shape[:-2] != op.b.type.shape[:-2]:
        return op
    batch, (rows, inner) = once.type.shape[:-2], op.a.type.shape[-2:]
    groups = op.a.type.size // (inner * rows)
    shared = groups // max(1, once.type.size // (once.type.shape[-2] * once.type.shape[-1]))
    a = ops.Reshape(op.a, (*batch, shared * rows, inner))
    return ops.Reshape(replace(op, a=a, b=once), op.type.shape, name=op.name)


def _unrepeated(op: Op) -> Op | None:
    """Of matrices of which several one after the other are the same, each once; None where none repeat."""
    match op:
        case ops.Rescale(x=x):
            inner = _unrepeated(x)
            return None if inner is None else replace(op, x=inner)
        case ops.Transpose(x=x, perm=perm) if perm[:-2] == tuple(range(len(perm) - 2)):
            inner = _unrepeated(x)
            return None if inner is None else replace(op, x=inner)
        case ops.Reshape(x=ops.Broadcast(x=x, shape=wide), shape=shape) if x.type.rank == len(wide):
            repeated = [i for i, n in enumerate(wide) if x.type.shape[i] != n]
            if len(repeated) != 1 or not 1 <= (at := repeated[0]) <= len(wide) - 3:
                return None
            merged = (*wide[: at - 1], wide[at - 1] * wide[at], *wide[at + 1 :])
            return ops.Reshape(x, (*wide[:at], *wide[at + 1 :]), name=op.name) if merged == shape else None
    return None
