"""GELU from its pieces, with the constants in any place.

    ½ · x · (1 + erf(x/√2))                              -> Gelu(x)
    ½ · x · (1 + tanh(√(2/π) · (x + 0.044715·x³)))       -> Gelu(x, approx="tanh")
    ½ · (x · (1 + erf(x/√2)) · g)                        -> Gelu(x) · g       the ½ moved past what it gates

Expects canonical spelling.
"""

from __future__ import annotations

import math

from ppc.frontend.ir import ops
from ppc.frontend.ir.graph import Graph, Op
from ppc.frontend.ir.ops import scalar
from ppc.passes.pattern import close, polynomial, same_polynomial, scaled
from ppc.passes.rewrite import Refuse, Rewritten, Uses, apply

_ERF_ARGUMENT = {1: 1 / math.sqrt(2)}
_TANH_ARGUMENT = {1: math.sqrt(2 / math.pi), 3: math.sqrt(2 / math.pi) * 0.044715}


def fuse_gelu(graph: Graph) -> Rewritten:
    """The graph with every GELU as one op."""
    return apply(rule, graph)


def rule(op: Op, uses: Uses) -> Op | None:
    for outer, body in scaled(op):
        if not isinstance(body, ops.Mul):
            continue
        if (found := _product(outer, body, uses)) is not None:
            return found
        for inner, g in ((body.a, body.b), (body.b, body.a)):
            if isinstance(inner, ops.Mul) and scalar(g) is None and uses[inner] == 1:
                found = _product(outer, inner, uses)
                if found is not None:
                    return ops.Mul(found, g)
    return None


def _product(outer: float, body: ops.Mul, uses: Uses) -> Op | None:
    """``outer · body`` as a Gelu; None where neither factor is a gate."""
    for x, gate in ((body.a, body.b), (body.b, body.a)):
        if (found := _gate(gate)) is not None:
            return _gelu(outer * found[0], x, found[1], uses)
    return None


def _gate(op: Op) -> tuple[float, ops.Erf | ops.Tanh] | None:
    """(c, f) with op = c · (1 + f) for an erf or tanh f."""
    for outer, body in scaled(op):
        if isinstance(body, ops.Add) and (one := scalar(body.b)) is not None:
            for c, f in scaled(body.a):
                if isinstance(f, ops.Erf | ops.Tanh) and close(c, one):
                    return outer * one, f
    return None


def _gelu(factor: float, product: Op, f: ops.Erf | ops.Tanh, uses: Uses) -> Op:
    """``factor · product · (1 + f)`` as a Gelu of one of the things that ``product`` is a multiple of."""
    wanted = _ERF_ARGUMENT if isinstance(f, ops.Erf) else _TANH_ARGUMENT
    name = type(f).__name__.lower()
    for c, x in scaled(product):
        if not same_polynomial(polynomial(f.x, x), wanted):
            continue
        if not close(factor * c, 0.5):
            raise Refuse(f"scaled by {factor * c:.6g}, not by 1/2")
        if uses[f] > 1:
            raise Refuse(f"the {name} has another user")
        return ops.Gelu(x, "none" if isinstance(f, ops.Erf) else "tanh")
    raise Refuse(f"the argument of {name} is not that of GELU in what multiplies it")
