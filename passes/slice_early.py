"""slice f(x) -> f(slice x): rows that nobody reads are not computed.

A decoder's next token depends on the last row of its logits alone, a classifier's label on the first of its
tokens: behind the last attention, all else is computed for that row. An operation moves behind the slice
where it keeps rows apart and nothing else reads its value.
"""

from __future__ import annotations

from dataclasses import replace

from ppc.frontend.ir import ops
from ppc.frontend.ir.graph import Graph, Op
from ppc.passes.fold_constants import settled
from ppc.passes.merge_equal import merge_equal
from ppc.passes.rewrite import Refuse, Rewritten, Uses, apply

_ELEMENTWISE = (
    *(ops.Binary, ops.Unary, ops.Where, ops.Sqrt, ops.Exp, ops.Erf, ops.Tanh, ops.Sigmoid, ops.Reciprocal),
    *(ops.Gelu, ops.Silu),
)


def slice_early(graph: Graph) -> Rewritten:
    """The graph with slices before what they leave little of; what has another reader stays as it is."""
    total = 0
    while True:
        done = apply(_rule, graph)
        total += done.count
        if not done.count:
            return Rewritten(done.graph, total, done.refusals)
        graph = merge_equal(done.graph).graph  # two that cut one value are one reader


def _rule(op: Op, uses: Uses) -> Op | None:
    match op:
        case ops.Slice(x=x, axes=(axis,)) if op.type.size < x.type.size:
            made = _through(op, x, axis % x.type.rank)
            if made is not None and uses[x] > 1:
                raise Refuse(f"{x!r} has another reader")
            return made
    return None


def _through(cut: ops.Slice, x: Op, axis: int) -> Op | None:
    """``x`` of what is cut out of its operands."""
    last = axis == x.type.rank - 1
    match x:
        case ops.MatMul(a=a, b=b) if axis == x.type.rank - 2:
            return x.replace((replace(cut, x=a, axes=(a.type.rank - 2,)), b))
        case ops.Reshape(x=y, shape=shape) if y.type.shape[: axis + 1] == shape[: axis + 1]:
            return ops.Reshape(replace(cut, x=y), cut.type.shape, name=x.name)
        case ops.Transpose(x=y, perm=perm):
            return ops.Transpose(replace(cut, x=y, axes=(perm[axis],)), perm, name=x.name)
        case ops.Concat(xs=xs, axis=along) if along % x.type.rank != axis:
            return x.replace(settled(replace(cut, x=each)) for each in xs)
        case ops.Softmax() | ops.LayerNorm() | ops.RMSNorm() if not last:
            rest = x.operands[1:]
            return x.replace((replace(cut, x=x.operands[0]), *rest))
        case _ if isinstance(x, _ELEMENTWISE):
            return x.replace(_cut(cut, each, axis - x.type.rank) for each in x.operands)
    return None


def _cut(cut: ops.Slice, operand: Op, axis: int) -> Op:
    """The same places of an operand that may repeat along the axis, which is counted from the end."""
    if -axis > operand.type.rank or operand.type.shape[axis] == 1:
        return operand
    return settled(replace(cut, x=operand, axes=(operand.type.rank + axis,)))
