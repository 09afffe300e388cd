"""A large value times one number that neither party may open: a product of matrices under HE.

    z·r  ->  r @ z,  r as 1 × 1 and z as 1 × N

As an element-wise product the whole of z would go through ℓ OTs each way. So is divided by a number of tokens
that the client alone knows.
"""

from __future__ import annotations

from ppc.frontend.ir import ops
from ppc.frontend.ir.graph import Graph, Op
from ppc.passes.owners import Owners
from ppc.passes.rewrite import Rewritten, Uses, apply

LEAST = 4096
"""Elements: below them the ciphertexts of a product are not full."""


def outer_product(graph: Graph) -> Rewritten:
    """The graph with products of large shared values and one number, the client's or shared, as matrices."""
    owners = Owners()

    def rule(op: Op, uses: Uses) -> Op | None:
        match op:
            case ops.Mul(a=a, b=b) if op.type.size >= LEAST:
                z, r = (a, b) if a.type.size > b.type.size else (b, a)
            case _:
                return None
        if r.type.size > 1 or isinstance(r, ops.Const) or z.type.size != op.type.size or not owners.shared(z):
            return None
        row = ops.MatMul(ops.Reshape(r, (1, 1)), ops.Reshape(z, (1, z.type.size)))
        return ops.Reshape(row, op.type.shape)

    return apply(rule, graph)
