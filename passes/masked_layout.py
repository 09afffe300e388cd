"""What becomes of a mask under an op that moves elements about, without writing it out.

A mask is smaller than what it masks, one row for all rows. f(s + m) = f(s) + f(m) holds for the m that is
repeated to s's shape; here m stays as small as f lets it.
"""

from __future__ import annotations

import math

from ppc.frontend.ir import ops
from ppc.frontend.ir.graph import Op
from ppc.passes.fold_constants import settled

LAYOUT = (ops.Reshape, ops.Transpose, ops.Broadcast, ops.Slice, ops.Gather)

Layout = ops.Reshape | ops.Transpose | ops.Broadcast | ops.Slice | ops.Gather


def moved(op: Layout, mask: Op) -> Op:
    """``mask``, which is repeated to the shape of ``op.x``, so that it is repeated to that of ``op``."""
    if isinstance(op, ops.Broadcast):
        return mask
    m = lifted(mask, op.x.type.rank)
    shape = m.type.shape
    match op:
        case ops.Reshape(x=x, shape=new):
            kept, small = _regrouped(x.type.shape, new, shape)
            return settled(ops.Reshape(wide(m, kept), small))
        case ops.Transpose(perm=perm):
            return settled(ops.Transpose(m, perm))
        case ops.Slice(axes=axes):
            cut = [i for i, axis in enumerate(axes) if shape[axis] != 1]
            rest = [tuple(each[i] for i in cut) for each in (op.starts, op.ends, op.axes, op.steps)]
            return settled(ops.Slice(m, *rest)) if cut else m
        case ops.Gather(indices=indices, axis=axis):
            at = axis % len(shape)
            if shape[at] != 1:
                return settled(ops.Gather(m, indices, at))
            return lifted(m, 0, (*shape[:at], *(1 for _ in indices.type.shape), *shape[at + 1 :]))
    raise AssertionError(op)


def joined(xs: list[Op], axis: int) -> Op:
    """Masks of the operands of a concatenation, one after the other; each has the operand's size there."""
    sizes = [[n for i, n in enumerate(x.type.shape) if i != axis] for x in xs]
    rest = [max(each) for each in zip(*sizes, strict=True)]
    shapes = [(*rest[:axis], x.type.shape[axis], *rest[axis:]) for x in xs]
    return settled(ops.Concat(tuple(wide(x, shape) for x, shape in zip(xs, shapes, strict=True)), axis))


def wide(x: Op, shape: tuple[int, ...]) -> Op:
    """x repeated to ``shape``."""
    return x if x.type.shape == shape else settled(ops.Broadcast(x, shape))


def along(x: Op, rank: int, axis: int, n: int) -> Op:
    """x with ``rank`` axes, of which that one has its whole size."""
    x = lifted(x, rank)
    return wide(x, (*x.type.shape[:axis], n, *x.type.shape[axis + 1 :]))


def lifted(x: Op, rank: int, shape: tuple[int, ...] | None = None) -> Op:
    """x with axes of one element in front, up to ``rank``; or of another ``shape``."""
    shape = shape or (1,) * (rank - x.type.rank) + x.type.shape
    return x if x.type.shape == shape else settled(ops.Reshape(x, shape))


def _regrouped(
    old: tuple[int, ...], new: tuple[int, ...], mask: tuple[int, ...]
) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """For a reshape from ``old`` to ``new``: the shape to which a mask must be repeated first, and the one
    that it then takes. Axes that become others together are repeated only where the mask has some of them."""
    if not math.prod(old):
        return old, new
    kept: list[int] = []
    small: list[int] = []
    i = j = 0
    while i < len(old) or j < len(new):
        a, b = i, j
        i, j = min(i + 1, len(old)), min(j + 1, len(new))
        while (left := math.prod(old[a:i])) != (right := math.prod(new[b:j])):
            i, j = (i + 1, j) if left < right else (i, j + 1)
        one = all(n == 1 for n in mask[a:i])
        kept += mask[a:i] if one else old[a:i]
        small += [1] * (j - b) if one else new[b:j]
    return tuple(kept), tuple(small)
