"""Ops that only a party who knows their operands can compute, and what stands for those nobody can."""

from __future__ import annotations

from dataclasses import dataclass

from ppc.frontend.ir.graph import FLOAT, IRError, Num, Op, TensorType
from ppc.runtime.base.clear import CLEAR


@dataclass(frozen=True, eq=False)
class Clear(Op):
    """``function`` of ``runtime.clear`` on ``xs``: sines of positions, the place of a token, bits.

    ``shape`` and ``to`` are the result's; ``ints``, ``floats``, ``text`` and ``data`` what the function says
    of itself. There is no way to compute it on shares.
    """

    function: str
    xs: tuple[Op, ...]
    shape: tuple[int, ...]
    to: Num = FLOAT
    ints: tuple[int, ...] = ()
    floats: tuple[float, ...] = ()
    text: str = ""
    data: bytes = b""

    def infer(self) -> TensorType:
        if self.function not in CLEAR:
            raise IRError(f"Clear {self.name}: no function is called {self.function!r}")
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
