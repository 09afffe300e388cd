"""Attention's 1/√d where no weight takes it: whoever knows the head size knows it.

    (q @ kᵀ)·c -> (q @ kᵀ)·c with a public c, where c² is 1/d to the precision of its floats

q and k shared, d the axis that is summed, transposes and reshapes between. A rotary embedding, for one, keeps
the factor from the weights before it. Any other number that a weight does not take stays the server's.
"""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from ppc.frontend.ir import ops
from ppc.frontend.ir.graph import Graph, Op
from ppc.passes.owners import Owners
from ppc.passes.rewrite import Rewritten, Uses, apply

_ROUNDED = 2.0**-22
"""Relative: what a root, an inverse and a product in float32 leave open."""


def publish_scale(graph: Graph) -> Rewritten:
    """The graph with the scales of products of shared values public."""
    owners = Owners()

    def rule(op: Op, uses: Uses) -> Op | None:
        match op:
            case ops.Mul(a=x, b=ops.Const(secret=True) as c) if (factor := ops.scalar(c)) is not None:
                product = _under(x)
            case _:
                return None
        if not isinstance(product, ops.MatMul) or not all(map(owners.shared, product.operands)):
            return None
        return (
            replace(op, b=replace(c, secret=False)) if _is_scale(factor, product.a.type.shape[-1]) else None
        )

    return apply(rule, graph)


def _under(x: Op) -> Op:
    while isinstance(x, ops.Reshape | ops.Transpose):
        x = x.x
    return x


def _is_scale(factor: float, d: int) -> bool:
    """Whether it is ±1/√d, in single precision or rounded to half."""
    wanted = 1 / math.sqrt(d)
    return math.isclose(abs(factor), wanted, rel_tol=_ROUNDED) or abs(factor) == float(np.float16(wanted))
