"""Rules for types that several ops share: formats that meet, shapes that broadcast, axes."""

from __future__ import annotations

import numpy as np

from ppc.frontend.ir.graph import BOOL, FLOAT, INT, IRError, Num, Op
from ppc.runtime.base.ring import Fixed


def joined(op: Op, *nums: Num) -> Num:
    """The one number format of values that meet in a sum."""
    first = nums[0]
    if all(num == first for num in nums):
        return first
    if any(isinstance(num, Fixed) for num in nums):
        raise IRError(f"{type(op).__name__} {op.name}: formats differ, {' and '.join(map(str, nums))}")
    for kind in (FLOAT, INT):
        if kind in nums:
            return kind
    return BOOL


def product(op: Op, a: Num, b: Num) -> Num:
    if isinstance(a, Fixed) and isinstance(b, Fixed):
        if a.bits != b.bits:
            raise IRError(f"{type(op).__name__} {op.name}: a product needs one ring, not {a} and {b}")
        return a.times(b)
    return joined(op, a, b)


def broadcast(op: Op, *shapes: tuple[int, ...]) -> tuple[int, ...]:
    try:
        return tuple(int(n) for n in np.broadcast_shapes(*shapes))
    except ValueError:
        raise IRError(f"{type(op).__name__} {op.name}: shapes {shapes} do not broadcast") from None


def normal_axis(op: Op, axis: int, rank: int) -> int:
    if not -rank <= axis < rank:
        raise IRError(f"{type(op).__name__} {op.name}: axis {axis} of a tensor of rank {rank}")
    return axis % rank
