"""Ops that only a party who knows their operands can compute, and what stands for those nobody can."""

from __future__ import annotations

from dataclasses import dataclass

from ppc.frontend.ir.graph import FLOAT, Num, Op, TensorType
from ppc.runtime.base.function import AnyFunction


@dataclass(frozen=True, eq=False)
class Clear(Op):
    """``function`` on ``xs``: sines of positions, the place of a token, bits. Shares cannot go through it.

    ``shape`` and ``to`` are the result's.
    """

    function: AnyFunction
    xs: tuple[Op, ...]
    shape: tuple[int, ...]
    to: Num = FLOAT

    def infer(self) -> TensorType:
        return TensorType(self.shape, self.to)


@dataclass(frozen=True, eq=False)
class Opaque(Op):
    """An operator of which only the result's type is known, so that what comes after can be looked at.

    It is part of no graph that is compiled.
    """

    xs: tuple[Op, ...]
    shape: tuple[int, ...]
    to: Num = FLOAT

    def infer(self) -> TensorType:
        return TensorType(self.shape, self.to)
