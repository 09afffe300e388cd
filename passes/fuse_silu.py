"""Sigmoid and SiLU from their pieces.

    1 / (1 + e^−x)           -> sigmoid x,      a / (1 + e^−x) -> a · sigmoid x
    x · sigmoid(x)           -> Silu(x)
    x · sigmoid(c·x)         -> Silu(c·x) · (1/c)          (c = 1.702: the quick GELU)

Expects canonical spelling.
"""

from __future__ import annotations

import numpy as np

from ppc.frontend.ir import ops
from ppc.frontend.ir.graph import Graph, Op
from ppc.frontend.ir.ops import Const, scalar
from ppc.passes.pattern import beyond, polynomial
from ppc.passes.rewrite import Refuse, Rewritten, Uses, apply_all


def fuse_silu(graph: Graph) -> Rewritten:
    """The graph with every sigmoid and every SiLU as one op."""
    return apply_all((sigmoid, silu), graph)


def sigmoid(op: Op, uses: Uses) -> Op | None:
    match op:
        case ops.Reciprocal(x=ops.Add(a=ops.Exp(x=ops.Neg(x=x)) as e, b=one)):
            above = None
        case ops.Div(a=above, b=ops.Add(a=ops.Exp(x=ops.Neg(x=x)) as e, b=one)) if above is not e:
            pass
        case _:
            return None
    if scalar(one) != 1:
        raise Refuse("what is added to the exponential is not 1")
    return ops.Sigmoid(x) if above is None else ops.Mul(above, ops.Sigmoid(x))


def silu(op: Op, uses: Uses) -> Op | None:
    match op:
        case ops.Mul(a=x, b=ops.Sigmoid(x=u) as gate) | ops.Mul(a=ops.Sigmoid(x=u) as gate, b=x):
            found = polynomial(u, x)
        case _:
            return None
    if found is None or found.keys() != {1}:
        raise Refuse("the sigmoid is of another value")
    if uses[gate] > 1:
        raise Refuse("the sigmoid has another user")
    if found[1] == 1:
        return ops.Silu(x)
    learned = any(isinstance(each, Const) and each.secret for each in beyond(u, x))
    return ops.Mul(ops.Silu(u), Const(np.asarray(1 / found[1], np.float64), learned))
