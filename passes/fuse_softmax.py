"""Softmax from its pieces.

    e^x / Σ e^x                -> softmax x
    softmax(x − m)             -> softmax x          where m is one value a row, the maximum for one

Expects canonical spelling; the sum is over one axis.
"""

from __future__ import annotations

from dataclasses import replace

from ppc.frontend.ir import ops
from ppc.frontend.ir.graph import Graph, Op
from ppc.frontend.ir.ops import normal_axis
from ppc.passes.canonical_structure import last_axis
from ppc.passes.rewrite import Refuse, Rewritten, Uses, apply_all


def fuse_softmax(graph: Graph) -> Rewritten:
    """The graph with every softmax as one op, over the last axis."""
    return apply_all((quotient, shifted, last_axis), graph)


def quotient(op: Op, uses: Uses) -> Op | None:
    match op:
        case ops.Div(a=ops.Exp(x=x) as e, b=ops.ReduceSum(x=summed, axes=axes, keepdims=keepdims)):
            pass
        case ops.Div(a=ops.Exp() as e, b=ops.Add(a=ops.ReduceSum(x=summed))) if summed is e:
            raise Refuse("something is added to the sum")
        case _:
            return None
    if summed is not e:
        raise Refuse("the sum is of another value")
    if len(axes) != 1 or not keepdims:
        raise Refuse(f"the sum is over axes {axes}, not over one that is kept")
    if uses[e] > 2:
        raise Refuse("the exponential has another user")
    return ops.Softmax(x, axes[0])


def shifted(op: Op, uses: Uses) -> Op | None:
    match op:
        case ops.Softmax(x=ops.Sub(a=x, b=m) as difference, axis=axis) if x.type == difference.type:
            at = normal_axis(op, axis, x.type.rank) - x.type.rank
            if m.type.rank >= -at and m.type.shape[at] != 1:
                raise Refuse("what is subtracted differs within a row")
            return replace(op, x=x, name="")
    return None
