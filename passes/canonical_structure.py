"""The rules of ``canonicalize`` for what moves elements about."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from ppc.frontend.ir import ops
from ppc.frontend.ir.graph import Op
from ppc.frontend.ir.ops import Const, normal_axis
from ppc.passes.rewrite import Rule, Uses

_ELEMENTWISE = (
    *(ops.Binary, ops.Unary, ops.Where),
    *(ops.Sqrt, ops.Exp, ops.Erf, ops.Tanh, ops.Sigmoid, ops.Reciprocal, ops.Gelu, ops.Silu),
)


def axes_from_zero(op: Op, uses: Uses) -> Op | None:
    """Axes of reductions, concatenations, slices and look-ups are counted from 0; a reduction's increase."""
    match op:
        case ops.Reduction(x=x, axes=axes):
            normal = tuple(sorted(normal_axis(op, axis, x.type.rank) for axis in axes))
            return None if normal == axes else replace(op, axes=normal)
        case ops.Slice(x=x, axes=axes):
            normal = tuple(normal_axis(op, axis, x.type.rank) for axis in axes)
            return None if normal == axes else replace(op, axes=normal)
        case ops.Concat(axis=axis) if axis < 0:
            return replace(op, axis=axis + op.type.rank)
        case ops.Gather(x=x, axis=axis) | ops.CumSum(x=x, axis=axis) if axis < 0:
            return replace(op, axis=axis + x.type.rank)
    return None


def merged(op: Op, uses: Uses) -> Op | None:
    """reshape(reshape x) -> reshape x, and so for transpose and broadcast; a reshape that only adds and
    removes axes of one element comes after a transpose"""
    match op:
        case ops.Reshape(x=ops.Reshape(x=x), shape=shape):
            return ops.Reshape(x, shape)
        case ops.Transpose(x=ops.Transpose(x=x, perm=first), perm=second):
            return ops.Transpose(x, tuple(first[i] for i in second))
        case ops.Broadcast(x=ops.Broadcast(x=x), shape=shape):
            return ops.Broadcast(x, shape)
        case ops.Transpose(x=x, perm=perm) if _moves_only_ones(x, perm):
            return ops.Reshape(x, op.type.shape)
        case ops.Transpose(x=ops.Reshape(x=x) as inner, perm=perm) if _long(x) == _long(inner):
            return ops.Reshape(ops.Transpose(x, _lifted(x, inner, perm)), op.type.shape)
    return None


def _long(x: Op) -> list[int]:
    """The sizes that are not 1."""
    return [n for n in x.type.shape if n != 1]


def _lifted(x: Op, reshaped: Op, perm: tuple[int, ...]) -> tuple[int, ...]:
    """``perm`` of a reshape that only added and removed axes of one element, as a permutation of x's axes."""
    long = [i for i, n in enumerate(x.type.shape) if n != 1]
    rank = {axis: k for k, axis in enumerate(i for i, n in enumerate(reshaped.type.shape) if n != 1)}
    short = [i for i, n in enumerate(x.type.shape) if n == 1]
    return (*short, *(long[rank[axis]] for axis in perm if axis in rank))


def _moves_only_ones(x: Op, perm: tuple[int, ...]) -> bool:
    moved = [i for i in perm if x.type.shape[i] != 1]
    return moved == sorted(moved)


def idle(op: Op, uses: Uses) -> Op | None:
    """What leaves its operand as it is -> the operand"""
    match op:
        case ops.Reshape(x=x) | ops.Broadcast(x=x) | ops.Cast(x=x) if x.type == op.type:
            return x
        case ops.Slice(x=x) if x.type == op.type and all(step > 0 for step in op.steps):
            return x
        case ops.Concat(xs=(x,)):
            return x
        case ops.Reduction(x=x) if x.type.size == op.type.size:
            return ops.Reshape(x, op.type.shape)
    return None


def repeated(op: Op, uses: Uses) -> Op | None:
    """f(broadcast x) -> f(x), a + broadcast b -> a + b, broadcast where the shape is not yet reached"""
    if not isinstance(op, _ELEMENTWISE) or not any(isinstance(each, ops.Broadcast) for each in op.operands):
        return None
    bare = op.replace(each.x if isinstance(each, ops.Broadcast) else each for each in op.operands)
    return bare if bare.type == op.type else ops.Broadcast(bare.named(""), op.type.shape)


def known_places(op: Op, uses: Uses) -> Op | None:
    """x at known, evenly spaced indices -> slice x, reshaped where the indices are no row"""
    match op:
        case ops.Gather(x=x, indices=Const(value=value, secret=False), axis=axis) if (
            value.size and not isinstance(x, Const)
        ):
            n = x.type.shape[axis]
            at = np.where(value < 0, value + n, value).ravel()
            step = int(at[1] - at[0]) if at.size > 1 else 1
            if step < 1 or np.any(np.diff(at) != step) or not 0 <= at[0] <= at[-1] < n:
                return None
            cut = ops.Slice(x, (int(at[0]),), (int(at[-1]) + 1,), (axis,), (step,))
            return cut if cut.type == op.type else ops.Reshape(cut, op.type.shape)
    return None


def cut_of_joined(op: Op, uses: Uses) -> Op | None:
    """a slice, along the axis of a concat, of one of its parts -> a slice of that part"""
    match op:
        case ops.Slice(x=ops.Concat(xs=xs, axis=axis), axes=(along,), steps=(step,)) if (
            along == axis and step > 0 and (places := op.places()[axis])
        ):
            at = 0
            for part in xs:
                size = part.type.shape[axis]
                if at <= places[0] and places[-1] < at + size:
                    return replace(op, x=part, starts=(places[0] - at,), ends=(places[-1] + 1 - at,))
                at += size
    return None


def last_axis(op: Op, uses: Uses) -> Op | None:
    """softmax over axis i -> the axis transposed to the end and back; the last axis is called −1"""
    match op:
        case ops.Softmax(x=x, axis=axis) if axis != -1:
            rank, at = x.type.rank, normal_axis(op, axis, x.type.rank)
            if at == rank - 1:
                return replace(op, axis=-1)
            swap = list(range(rank))
            swap[at], swap[-1] = rank - 1, at
            perm = tuple(swap)
            return ops.Transpose(ops.Softmax(ops.Transpose(x, perm), num=op.num), perm)
    return None


RULES: tuple[Rule, ...] = (axes_from_zero, merged, idle, repeated, known_places, cut_of_joined, last_axis)
