"""LayerNorm and RMSNorm from their pieces.

    x / √(mean(x²) + ε)                    -> RMSNorm(x, 1, ε)
    RMSNorm(x − mean x, γ, ε)              -> LayerNorm(x, γ, 0, ε)
    RMSNorm(x, γ, ε) · g                   -> RMSNorm(x, γ·g, ε)
    LayerNorm(x, γ, β, ε) · g, … + b       -> LayerNorm(x, γ·g, β·g, ε), LayerNorm(x, γ, β + b, ε)

Expects canonical spelling; g and b are constant rows.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from ppc.frontend.ir import ops
from ppc.frontend.ir.graph import Graph, Op
from ppc.frontend.ir.ops import Const, scalar
from ppc.passes.fold_constants import folded
from ppc.passes.rewrite import Refuse, Rewritten, Uses, apply_all


def fuse_layernorm(graph: Graph) -> Rewritten:
    """The graph with every norm over the last axis as one op."""
    return apply_all((root_mean_square, centred, affine), graph)


def root_mean_square(op: Op, uses: Uses) -> Op | None:
    match op:
        case ops.Div(a=x, b=ops.Sqrt(x=variance) as deviation):
            inner, eps = _variance(variance)
        case ops.Div(a=x, b=ops.Add(a=ops.Sqrt(x=variance))) if _variance(variance)[0] is not None:
            raise Refuse("ε is added to the deviation, not to the variance")
        case _:
            return None
    if inner is None:
        return None
    if inner.x is not op.a and not (isinstance(inner.x, ops.Square) and inner.x.x is op.a):
        raise Refuse("the mean square is not of what is divided")
    if not isinstance(inner.x, ops.Square):
        return None
    if eps is None:
        raise Refuse("ε is not a constant number")
    if inner.axes != (x.type.rank - 1,) or not inner.keepdims:
        raise Refuse(f"the mean is over axes {inner.axes}, not over the last of {x.type.rank}")
    if uses[deviation] > 1:
        raise Refuse("the deviation has another user")
    return ops.RMSNorm(x, _row(x, 1.0), eps)


def _variance(op: Op) -> tuple[ops.ReduceMean | None, float | None]:
    """mean + ε; a missing ε is 0, one that is no number is None."""
    match op:
        case ops.ReduceMean():
            return op, 0.0
        case ops.Add(a=ops.ReduceMean() as inner, b=eps) | ops.Add(a=eps, b=ops.ReduceMean() as inner):
            return inner, scalar(eps)
    return None, None


def centred(op: Op, uses: Uses) -> Op | None:
    match op:
        case ops.RMSNorm(x=ops.Sub(a=x, b=ops.ReduceMean(x=y, axes=axes)), gamma=gamma, eps=eps):
            if x is not y:
                raise Refuse("the mean is of another value")
            if axes != (x.type.rank - 1,):
                raise Refuse(f"the mean is over axes {axes}, not over the last of {x.type.rank}")
            return ops.LayerNorm(x, gamma, _row(x, 0.0), eps)
    return None


def affine(op: Op, uses: Uses) -> Op | None:
    match op:
        case ops.Mul(a=ops.RMSNorm() | ops.LayerNorm() as norm, b=Const() as factor):
            gamma = _absorbed(op, norm, factor, uses)
            if isinstance(norm, ops.RMSNorm):
                return replace(norm, gamma=_fold(ops.Mul(norm.gamma, gamma)), name="")
            scaled, beta = ops.Mul(norm.gamma, gamma), ops.Mul(norm.beta, gamma)
            return replace(norm, gamma=_fold(scaled), beta=_fold(beta), name="")
        case ops.Add(a=ops.LayerNorm() as norm, b=Const() as shift):
            row = _absorbed(op, norm, shift, uses)
            return replace(norm, beta=_fold(ops.Add(norm.beta, row)), name="")
    return None


def _absorbed(op: Op, norm: ops.RMSNorm | ops.LayerNorm, constant: Const, uses: Uses) -> Const:
    """The constant as a row of what is normalized."""
    n = norm.type.shape[-1]
    if (
        op.type != norm.type
        or constant.type.size not in (1, n)
        or constant.type.shape[-1:] not in ((n,), (1,), ())
    ):
        raise Refuse(f"{constant.type} is not one row of {norm.type}")
    if uses[norm] > 1:
        raise Refuse("what is normalized has another user")
    return Const(np.broadcast_to(constant.value.reshape(-1), (n,)), constant.secret, name=constant.name)


def _fold(op: Op) -> Op:
    return folded(op) if all(isinstance(each, Const) for each in op.operands) else op


def _row(x: Op, value: float) -> Const:
    return Const(np.full(x.type.shape[-1:], value, np.float32))
