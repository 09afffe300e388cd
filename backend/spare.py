"""How many low bits of each product nothing needs: what its error may reach.

A product carries the fraction bits of both its factors, and what follows drops most of them. An error of half
a unit of what is kept is no more than the rounding that drops them makes by itself, in mean far less; where
nothing is dropped, an error of two units stands in the last of some twenty fraction bits.
"""

from __future__ import annotations

import math

import numpy as np

from ppc.frontend.ir import ops
from ppc.frontend.ir.graph import Graph, Op, walk
from ppc.runtime.base.ring import Fixed

LEAST = 1
"""Two shares that are rounded to a unit each cannot do better."""

MOVES = (ops.Reshape, ops.Transpose, ops.Broadcast, ops.Slice, ops.Gather, ops.Concat, ops.Neg)
"""What hands values on as they are."""


PRODUCTS = (ops.MatMul, ops.Mul, ops.Square)
"""What may be made under HE, alone or with the sum that reads it."""


def spare_bits(graph: Graph) -> dict[Op, int]:
    """For each product s such that an error of 2^s of its units harms nothing that reads it, and for sums."""
    order = list(walk(graph))
    erring: set[Op] = set()
    for op in order:
        passes_on = isinstance(op, (*MOVES, ops.Add, ops.Sub, ops.ReduceSum))
        if isinstance(op, PRODUCTS) or (passes_on and any(x in erring for x in op.operands)):
            erring.add(op)
    spare: dict[Op, float] = dict.fromkeys(graph.outputs.values(), 0.0)
    for op in reversed(order):
        for x in set(op.operands):
            spare[x] = min(spare.get(x, math.inf), _bears(op, x, spare.get(op, math.inf), erring))
    return {op: _whole(spare[op]) for op in order if isinstance(op, (*PRODUCTS, ops.ReduceSum))}


def _whole(bits: float) -> int:
    return LEAST if bits == math.inf else max(LEAST, math.floor(bits))


def _bears(op: Op, x: Op, spare: float, erring: set[Op]) -> float:
    """log2 of the error of x, in its units, that ``op`` bears, if its own result bears 2^spare."""
    match op:
        case ops.Rescale() if isinstance(x.type.num, Fixed) and (drop := x.type.num.scale - op.num.scale) > 0:
            return drop - 1.0
        case ops.Rescale() | ops.Reshape() | ops.Transpose() | ops.Broadcast() | ops.Slice():
            return spare
        case ops.Gather() | ops.Concat() | ops.Neg():
            return spare
        case ops.Add() | ops.Sub():
            return spare - (op.a in erring and op.b in erring)
        case ops.ReduceSum():
            return spare - math.log2(max(1, math.prod(x.type.shape) // math.prod(op.type.shape)))
        case ops.Mul(b=ops.Const(secret=False) as factor) if factor.value.size:
            scaled = float(np.abs(factor.value).max()) * 2.0 ** (
                factor.type.num.scale if isinstance(factor.type.num, Fixed) else 0
            )
            return spare - math.log2(max(1.0, scaled))
    return 0.0
