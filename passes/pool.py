"""Mean pooling as one product with the client's weights: Σ_t h[t]·m[t] / n -> (m/n) @ h.

Exporters spell it as a mask expanded to h's shape, a product, a sum over tokens and a division by the mask's
sum. The mask and its sum are the client's, who divides them alone; what is left is one row times h.
"""

from __future__ import annotations

from ppc.frontend.ir import ops
from ppc.frontend.ir.graph import Graph, Op, Owner
from ppc.passes.owners import Owners
from ppc.passes.rewrite import Refuse, Rewritten, Uses, apply_all

_EACH = (
    ops.Cast,
    ops.Clip,
    ops.Relu,
    ops.Abs,
    ops.Neg,
    ops.Reciprocal,
    ops.Sqrt,
    ops.Add,
    ops.Sub,
    ops.Mul,
    ops.Div,
)


def pool(graph: Graph) -> Rewritten:
    """The graph with every client-weighted sum over the last axis but one as a MatMul."""
    owners = Owners()

    def weighted_sum(op: Op, uses: Uses) -> Op | None:
        """Σ over tokens of h·m, m the same for all channels."""
        match op:
            case ops.ReduceSum(x=ops.Mul(a=h, b=m) as scaled) if _mixed(owners, h, m):
                pass
            case ops.ReduceSum(x=ops.Mul(a=m, b=h) as scaled) if _mixed(owners, h, m):
                pass
            case _:
                return None
        rank = h.type.rank
        if rank < 2 or [axis % rank for axis in op.axes] != [rank - 2] or h.type.shape != scaled.type.shape:
            return None
        if uses[scaled] > 1:
            raise Refuse("the masked value has another user")
        column = _column(m)
        if column is None or column.type.rank != rank:
            raise Refuse("the client's factor differs between channels")
        all_tokens = (*column.type.shape[:-2], h.type.shape[-2], 1)  # one number may stand for all of them
        column = column if column.type.shape == all_tokens else ops.Broadcast(column, all_tokens)
        row = ops.Transpose(column, (*range(rank - 2), rank - 1, rank - 2))
        product = ops.MatMul(row, h)
        return product if product.type.shape == op.type.shape else ops.Reshape(product, op.type.shape)

    def divided(op: Op, uses: Uses) -> Op | None:
        """(m @ h) / n with n the client's: (m / n) @ h."""
        match op:
            case ops.Div(a=ops.Reshape(x=ops.MatMul(a=m, b=h) as product), b=n):
                pass
            case ops.Div(a=ops.MatMul(a=m, b=h) as product, b=n):
                pass
            case _:
                return None
        assert isinstance(op, ops.Div)
        if not _mixed(owners, h, m) or owners[n] is not Owner.CLIENT:
            return None
        if uses[op.a] > 1 or uses[product] > 1:
            raise Refuse("the sum has another user")
        count = _column(n)
        if count is None or count.type.size != m.type.size // m.type.shape[-1]:
            raise Refuse("the client's divisor differs between channels")
        weights = ops.Div(m, ops.Reshape(count, (*m.type.shape[:-1], 1)))
        scaled = ops.MatMul(weights, h)
        return scaled if scaled.type.shape == op.type.shape else ops.Reshape(scaled, op.type.shape)

    return apply_all((weighted_sum, divided), graph)


def _mixed(owners: Owners, h: Op, m: Op) -> bool:
    return owners.shared(h) and owners[m] is Owner.CLIENT


def _column(op: Op) -> Op | None:
    """The same value with a last axis of 1, if along that axis it is equal; None where it may differ."""
    if op.type.rank == 0 or op.type.shape[-1] == 1:
        return op
    match op:
        case ops.Broadcast(x=x, shape=shape) if x.type.shape[-1:] in ((), (1,)):
            return ops.Broadcast(x, (*shape[:-1], 1))
        case ops.ReduceSum(x=x, axes=axes, keepdims=keepdims) if (x.type.rank - 1) not in _positive(op):
            column = _column(x)
            return None if column is None else ops.ReduceSum(column, axes, keepdims)
        case _ if isinstance(op, _EACH):
            columns = [_column(each) for each in op.operands]
            if any(each is None for each in columns):
                return None
            return op.replace(each for each in columns if each is not None).named("")
    return None


def _positive(op: ops.ReduceSum) -> list[int]:
    return [axis % op.x.type.rank for axis in op.axes]
