"""A mask that a bias has swallowed comes out, to be the last term under its softmax, where it can be cut.

    s + where(kept, b, −∞)   -> where(kept, s + b, −∞)     b the server's (T5's positions) or shared
    s + (b + m)              -> (s + b) + m                m the client's or public
    s − m                    -> s + (−m)

What is masked is 0 after a softmax, whatever was added to it before.
"""

from __future__ import annotations

from ppc.frontend.ir import ops
from ppc.frontend.ir.graph import Graph, Op, Owner
from ppc.passes.clamp_mask import DEEP
from ppc.passes.owners import Owners
from ppc.passes.rewrite import Rewritten, Uses, apply

_KNOWN = (Owner.CLIENT, Owner.PUBLIC)


def hoist_mask(graph: Graph) -> Rewritten:
    """The graph with every mask outermost under its softmax."""
    owners = Owners()

    def rule(op: Op, uses: Uses) -> Op | None:
        if not isinstance(op, ops.Softmax) or not owners.shared(op.x):
            return None
        match op.x:
            case ops.Sub(a=s, b=m) if owners[m] in _KNOWN:
                new: Op | None = ops.Add(s, ops.Neg(m))
            case ops.Add(a=a, b=b) if owners.shared(a) and owners.shared(b):
                new = outside(a, b) or outside(b, a)
            case _:
                return None
        return None if new is None else op.replace((new.named(op.x.name),))

    def outside(s: Op, term: Op) -> Op | None:
        """s + term with the mask in ``term`` outermost."""
        match term:
            case ops.Where(condition=kept, a=b, b=low) if _deep(low) and owners[kept] in _KNOWN:
                return ops.Where(kept, ops.Add(s, b), low)
            case ops.Where(condition=kept, a=low, b=b) if _deep(low) and owners[kept] in _KNOWN:
                return ops.Where(kept, low, ops.Add(s, b))
            case ops.Add(a=b, b=m) if owners[m] in _KNOWN:
                return ops.Add(ops.Add(s, b), m)
            case ops.Add(a=m, b=b) if owners[m] in _KNOWN:
                return ops.Add(ops.Add(s, b), m)
        return None

    return apply(rule, graph)


def _deep(low: Op) -> bool:
    value = ops.scalar(low)
    return value is not None and value <= DEEP
