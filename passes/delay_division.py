"""(e · r) @ v -> (e @ v) · r, where r has one number for each row of e, and e @ (v · cᵀ) for each column.

A softmax's division then costs a product for each output element, seq × d of them, and not for each of the
seq × seq scores; and what is multiplied by v is e itself. A weight that widens e stays behind the division: a
decoder's last norm is divided before there are 49,152 logits. What a mask keeps of each row is likewise a
factor of v, where that is smaller.
"""

from __future__ import annotations

from ppc.frontend.ir import ops
from ppc.frontend.ir.graph import Graph, Op
from ppc.passes.fold_constants import settled
from ppc.passes.rewrite import Refuse, Rewritten, Uses, apply


def delay_division(graph: Graph) -> Rewritten:
    """The graph with row factors behind the products, and column factors on v; a scaled e that has another
    user stays."""
    return apply(_rule, graph)


def _rule(op: Op, uses: Uses) -> Op | None:
    match op:
        case ops.MatMul(a=ops.Mul() as scaled, b=v):
            for e, r in ((scaled.a, scaled.b), (scaled.b, scaled.a)):
                if r.type.rank != e.type.rank or e.type.shape != scaled.type.shape:
                    continue
                made = _moved(e, r, v)
                if made is not None and uses[scaled] > 1:
                    raise Refuse("the scaled operand has another user")
                if made is not None:
                    return made
    return None


def _moved(e: Op, r: Op, v: Op) -> Op | None:
    """(e · r) @ v with r elsewhere."""
    if r.type.shape[-1:] == (1,):
        if isinstance(v, ops.Const) and v.type.shape[-1] > v.type.shape[-2]:
            return None
        return ops.Mul(ops.MatMul(e, v), r)
    if r.type.shape[-2:-1] == (1,) and r.type.rank <= v.type.rank and v.type.size < e.type.size:
        rank = r.type.rank
        column = settled(ops.Transpose(r, (*range(rank - 2), rank - 1, rank - 2)))
        scaled = ops.Mul(v, column)
        return ops.MatMul(e, scaled) if scaled.type.shape == v.type.shape else None
    return None
