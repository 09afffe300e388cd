"""(e · r) @ v -> (e @ v) · r, where r has one number for each row of e.

A softmax's division then costs a product for each output element, seq × d of them, and not for each of the
seq × seq scores; and what is multiplied by v is e itself.
"""

from __future__ import annotations

from ppc.frontend.ir import ops
from ppc.frontend.ir.graph import Graph, Op
from ppc.passes.rewrite import Refuse, Rewritten, Uses, apply


def delay_division(graph: Graph) -> Rewritten:
    """The graph with row factors behind the products; a scaled e that has another user stays."""
    return apply(_rule, graph)


def _rule(op: Op, uses: Uses) -> Op | None:
    match op:
        case ops.MatMul(a=ops.Mul() as scaled, b=v):
            for e, r in ((scaled.a, scaled.b), (scaled.b, scaled.a)):
                if (
                    r.type.shape[-1:] == (1,)
                    and r.type.rank == e.type.rank
                    and e.type.shape == scaled.type.shape
                ):
                    if uses[scaled] > 1:
                        raise Refuse("the scaled operand has another user")
                    return ops.Mul(ops.MatMul(e, v), r)
    return None
