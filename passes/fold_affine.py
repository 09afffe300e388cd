"""Rows of constants before a weight move into it, where they cost nothing.

    (x·g) @ W           ->  x @ (gᵀ·W)
    (x + b) @ W         ->  x @ W + b @ W
    (x − mean x) @ W    ->  x @ (W − the mean of W's rows)

So a norm's γ and β vanish, or the whole of one that is affine, provided that nothing but such products reads
the value: in models that normalize before each block, not in those that add the normalized value on.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ppc.frontend.ir import ops
from ppc.frontend.ir.graph import Graph, Op, Owner, walk
from ppc.frontend.ir.ops import Const
from ppc.passes.owners import owners

Array = NDArray[Any]


def fold_affine(graph: Graph) -> Graph:
    """The graph with constant rows inside the weights that read them."""
    while folding := _foldable(graph):
        graph = _folded(graph, folding)
    return graph


def _foldable(graph: Graph) -> set[Op]:
    """Values that are one step from another, and read by products with weights alone."""
    owner = owners(graph)
    found = {op for op in owner if owner[op] is Owner.SHARED and _operand(op) is not None}
    found -= set(graph.outputs.values())
    for op in owner:
        match op:
            case ops.MatMul(a=a, b=Const(value=w)) if w.ndim == 2:
                found -= {each for each in op.operands if each is not a}
            case _:
                found -= set(op.operands)
    return found


def _folded(graph: Graph, folding: set[Op]) -> Graph:
    new: dict[Op, Op] = {}
    for op in walk(graph):
        match op:
            case ops.MatMul(a=a, b=Const() as w) if a in folding:
                x = _operand(a)
                assert x is not None
                new[op] = _product(op, a, new[x], w)
            case _:
                new[op] = op.replace(new[each] for each in op.operands)
    return graph.mapped(new)


def _operand(op: Op) -> Op | None:
    """x where op is x·g, x + b or x − mean x."""
    match op:
        case ops.Mul(a=x, b=Const() as row) | ops.Mul(a=Const() as row, b=x):
            return x if _is_row(row, op) and x.type.shape == op.type.shape else None
        case ops.Add(a=x, b=Const() as row) | ops.Add(a=Const() as row, b=x):
            return x if _is_row(row, op) and x.type.shape == op.type.shape else None
        case ops.Sub(a=x, b=mean):
            return x if is_row_mean(mean, x) else None
    return None


def _is_row(row: Const, op: Op) -> bool:
    return row.value.size == 1 or row.value.size == row.type.shape[-1] == op.type.shape[-1]


def is_row_mean(op: Op, x: Op) -> bool:
    """Of each row, as one op or as a sum times 1/n."""
    if not x.type.rank:
        return False
    last, n = (x.type.rank - 1,), x.type.shape[-1]
    match op:
        case ops.ReduceMean(x=of, axes=axes, keepdims=True):
            return of is x and axes == last
        case ops.Mul(a=ops.ReduceSum(x=of, axes=axes, keepdims=True), b=part):
            share = ops.scalar(part)
            return of is x and axes == last and share is not None and math.isclose(share * n, 1, rel_tol=1e-6)
    return False


def _product(op: ops.MatMul, a: Op, x: Op, w: Const) -> Op:
    weight = w.value.astype(np.float64)
    match a:
        case ops.Mul():
            row = _row(a)
            return replace(op, a=x, b=_weight(np.resize(row.value, len(weight))[:, None] * weight, w, row))
        case ops.Add():
            row = _row(a)
            shift = np.resize(row.value, len(weight)) @ weight
            return ops.Add(replace(op, a=x, name=""), _weight(shift, w, row, ""), name=op.name)
    return replace(op, a=x, b=_weight(weight - weight.mean(axis=0), w))


def _row(op: ops.Mul | ops.Add) -> Const:
    row = op.b if isinstance(op.b, Const) else op.a
    assert isinstance(row, Const)
    return row


def _weight(value: Array, w: Const, row: Const | None = None, name: str | None = None) -> Const:
    secret = w.secret or (row is not None and row.secret)
    return Const(value.astype(np.float32), secret, name=w.name if name is None else name)
