"""Ops that move elements about: look-ups, reshapes, slices."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from numpy.typing import NDArray

from ppc.frontend.ir.constant import Const
from ppc.frontend.ir.graph import FLOAT, IntType, IRError, Num, Op, TensorType
from ppc.frontend.ir.infer import broadcast, joined, normal_axis
from ppc.runtime.base.meaning import ranges


@dataclass(frozen=True, eq=False)
class Gather(Op):
    """``x`` at integer ``indices`` along ``axis``; with a weight and private ids, the embedding."""

    x: Op
    indices: Op
    axis: int = 0

    def infer(self) -> TensorType:
        x, indices = self.x.type, self.indices.type
        if not isinstance(indices.num, IntType):
            raise IRError(f"Gather {self.name}: indices are {indices}")
        axis = normal_axis(self, self.axis, x.rank)
        if isinstance(self.indices, Const) and not _within(self.indices.value, x.shape[axis]):
            raise IRError(f"Gather {self.name}: places outside of axis {axis} of {x}")
        return TensorType(x.shape[:axis] + indices.shape + x.shape[axis + 1 :], x.num)


def _within(places: NDArray[Any], length: int) -> bool:
    return not places.size or bool(-length <= places.min() and places.max() < length)


@dataclass(frozen=True, eq=False)
class OneHot(Op):
    """Rows of the unit matrix: ids[...] -> [..., depth]; an id below 0 counts from the end."""

    ids: Op
    depth: int
    num: Num | None = field(default=None, kw_only=True)

    def infer(self) -> TensorType:
        ids = self.ids.type
        if not isinstance(ids.num, IntType):
            raise IRError(f"OneHot {self.name}: ids are {ids}")
        if self.depth < 1:
            raise IRError(f"OneHot {self.name}: depth {self.depth}")
        return TensorType((*ids.shape, self.depth), self.num or FLOAT)


@dataclass(frozen=True, eq=False)
class Reshape(Op):
    """The same elements in order under another shape, given in full."""

    x: Op
    shape: tuple[int, ...]

    def infer(self) -> TensorType:
        out = TensorType(self.shape, self.x.type.num)
        if out.size != self.x.type.size or any(n < 0 for n in self.shape):
            raise IRError(f"Reshape {self.name}: {self.x.type} to {self.shape}")
        return out


@dataclass(frozen=True, eq=False)
class Transpose(Op):
    """Axis i of the result is axis perm[i] of x."""

    x: Op
    perm: tuple[int, ...]

    def infer(self) -> TensorType:
        x = self.x.type
        if sorted(self.perm) != list(range(x.rank)):
            raise IRError(f"Transpose {self.name}: {self.perm} does not permute the axes of {x}")
        return TensorType(tuple(x.shape[i] for i in self.perm), x.num)


@dataclass(frozen=True, eq=False)
class Broadcast(Op):
    """x repeated to ``shape``, which it must broadcast to exactly."""

    x: Op
    shape: tuple[int, ...]

    def infer(self) -> TensorType:
        if broadcast(self, self.x.type.shape, self.shape) != self.shape:
            raise IRError(f"Broadcast {self.name}: {self.x.type} is larger than {self.shape}")
        return TensorType(self.shape, self.x.type.num)


@dataclass(frozen=True, eq=False)
class Slice(Op):
    """x[starts:ends:steps] on ``axes``, with numpy's rules for ends that lie outside."""

    x: Op
    starts: tuple[int, ...]
    ends: tuple[int, ...]
    axes: tuple[int, ...]
    steps: tuple[int, ...]

    def infer(self) -> TensorType:
        x = self.x.type
        if not len(self.starts) == len(self.ends) == len(self.axes) == len(self.steps):
            raise IRError(f"Slice {self.name}: starts, ends, axes and steps differ in length")
        if 0 in self.steps:
            raise IRError(f"Slice {self.name}: a step of 0")
        for axis in self.axes:
            normal_axis(self, axis, x.rank)
        return TensorType(tuple(len(each) for each in self.places()), x.num)

    def places(self) -> tuple[range, ...]:
        """What is left of every axis."""
        return ranges(self.x.type.shape, self.starts, self.ends, self.axes, self.steps)


@dataclass(frozen=True, eq=False)
class Concat(Op):
    """Operands one after the other along ``axis``."""

    xs: tuple[Op, ...]
    axis: int

    def infer(self) -> TensorType:
        if not self.xs:
            raise IRError(f"Concat {self.name}: of nothing")
        first = self.xs[0].type
        axis = normal_axis(self, self.axis, first.rank)
        for x in self.xs:
            fits = x.type.rank == first.rank and all(
                i == axis or n == first.shape[i] for i, n in enumerate(x.type.shape)
            )
            if not fits:
                raise IRError(f"Concat {self.name}: {x.type} after {first} along axis {axis}")
        total = sum(x.type.shape[axis] for x in self.xs)
        num = joined(self, *(x.type.num for x in self.xs))
        return TensorType((*first.shape[:axis], total, *first.shape[axis + 1 :]), num)
