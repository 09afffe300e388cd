"""Ops that add elements up: products of matrices, reductions, running sums."""

from __future__ import annotations

from dataclasses import dataclass

from ppc.frontend.ir.graph import IRError, Op, TensorType
from ppc.frontend.ir.infer import broadcast, normal_axis, product


@dataclass(frozen=True, eq=False)
class MatMul(Op):
    """``a @ b`` over the last two axes, the others broadcast. Scales add; truncating is a separate op."""

    a: Op
    b: Op

    def infer(self) -> TensorType:
        a, b = self.a.type, self.b.type
        if a.rank < 2 or b.rank < 2:
            raise IRError(f"MatMul {self.name}: {a} @ {b} has an operand without two axes")
        if a.shape[-1] != b.shape[-2]:
            raise IRError(f"MatMul {self.name}: inner axes differ, {a} @ {b}")
        batch = broadcast(self, a.shape[:-2], b.shape[:-2])
        return TensorType((*batch, a.shape[-2], b.shape[-1]), product(self, a.num, b.num))


@dataclass(frozen=True, eq=False)
class Reduction(Op):
    """Over ``axes``, kept as ones where ``keepdims``."""

    x: Op
    axes: tuple[int, ...]
    keepdims: bool = True

    def infer(self) -> TensorType:
        x = self.x.type
        gone = {normal_axis(self, axis, x.rank) for axis in self.axes}
        if not gone or len(gone) != len(self.axes):
            raise IRError(f"{type(self).__name__} {self.name}: axes {self.axes} of {x}")
        shape = tuple(1 if i in gone else n for i, n in enumerate(x.shape) if self.keepdims or i not in gone)
        return TensorType(shape, x.num)


@dataclass(frozen=True, eq=False)
class ReduceSum(Reduction):
    """Σ x"""


@dataclass(frozen=True, eq=False)
class ReduceMean(Reduction):
    """Σ x / n"""


@dataclass(frozen=True, eq=False)
class ReduceMax(Reduction):
    """max x; ``steadies``: what a softmax subtracts, which two parties find to within 1/4."""

    steadies: bool = False


@dataclass(frozen=True, eq=False)
class CumSum(Op):
    """Running sums along ``axis``; ``exclusive`` leaves an element out of its own sum."""

    x: Op
    axis: int
    exclusive: bool = False
    reverse: bool = False

    def infer(self) -> TensorType:
        normal_axis(self, self.axis, self.x.type.rank)
        return self.x.type
