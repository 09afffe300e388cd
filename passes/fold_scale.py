"""Multiplications by a constant scalar move into the weights before them, where they cost nothing.

The one that matters is attention's 1/√d: (q @ kᵀ)·c = ((x @ W + b)·c) @ kᵀ = (x @ cW + cb) @ kᵀ, through the
reshapes and transposes between.
"""

from __future__ import annotations

from ppc.frontend.ir import ops
from ppc.frontend.ir.graph import Graph, Op
from ppc.passes.owners import Owners
from ppc.passes.rewrite import Refuse, Rewritten, Uses, apply

_MOVES = (ops.Reshape, ops.Transpose, ops.Slice, ops.Broadcast, ops.ReduceSum, ops.ReduceMean, ops.Neg)


def fold_scale(graph: Graph) -> Rewritten:
    """The graph without the scalar factors that a weight can take. Refused where a value between the two has
    another user, or no weight is there."""
    owners = Owners()

    def rule(op: Op, uses: Uses) -> Op | None:
        match op:
            case ops.Mul(a=x, b=c) if (factor := ops.scalar(c)) is not None:
                pass
            case ops.Mul(a=c, b=x) if (factor := ops.scalar(c)) is not None:
                pass
            case ops.Div(a=x, b=c) if divisor := ops.scalar(c):
                factor = 1 / divisor
            case _:
                return None
        if x.type.shape != op.type.shape or not owners.shared(x):
            return None
        return times(x, factor, uses)

    return apply(rule, graph)


def times(x: Op, factor: float, uses: Uses) -> Op:
    """x·factor without a new op."""
    if isinstance(x, ops.Const):
        if not x.secret or x.value.dtype.kind != "f":
            raise Refuse("the constant is public")
        return ops.Const((x.value * factor).astype(x.value.dtype), x.secret, name=x.name)
    if uses[x] != 1:
        raise Refuse(f"{x!r} has another user")
    match x:
        case ops.MatMul(a=a, b=b) | ops.Mul(a=a, b=b):
            try:
                return x.replace((a, times(b, factor, uses))).named("")
            except Refuse:
                return x.replace((times(a, factor, uses), b)).named("")
        case ops.Add(a=a, b=b) | ops.Sub(a=a, b=b):
            return x.replace((times(a, factor, uses), times(b, factor, uses))).named("")
        case _ if isinstance(x, _MOVES):
            return x.replace((times(x.operands[0], factor, uses),)).named("")
    raise Refuse(f"no weight to take the factor: {x!r}")
