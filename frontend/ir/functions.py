"""Functions of an element or of a row, whose results have formats of their own."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from ppc.frontend.ir.graph import FLOAT, IRError, Num, Op, TensorType
from ppc.frontend.ir.infer import normal_axis
from ppc.frontend.ir.spline import SplineSpec
from ppc.runtime.base.ring import Fixed


@dataclass(frozen=True, eq=False)
class Function(Op):
    """An op whose result has a format of its own: ``num``, or x's where that is not said."""

    x: Op
    num: Num | None = field(default=None, kw_only=True)

    def infer(self) -> TensorType:
        return TensorType(self.result_shape(), self.num or self.default_num())

    def result_shape(self) -> tuple[int, ...]:
        return self.x.type.shape

    def default_num(self) -> Num:
        num = self.x.type.num
        return num if isinstance(num, Fixed) else FLOAT


@dataclass(frozen=True, eq=False)
class Sqrt(Function):
    """√x"""


@dataclass(frozen=True, eq=False)
class Exp(Function):
    """eˣ"""


@dataclass(frozen=True, eq=False)
class Erf(Function):
    """erf x"""


@dataclass(frozen=True, eq=False)
class Tanh(Function):
    """tanh x"""


@dataclass(frozen=True, eq=False)
class Sigmoid(Function):
    """1 / (1 + e⁻ˣ)"""


@dataclass(frozen=True, eq=False)
class Reciprocal(Function):
    """1 / x"""


@dataclass(frozen=True, eq=False)
class Gelu(Function):
    """x·Φ(x); ``approx="tanh"``: x·(1 + tanh(√(2/π)·(x + 0.044715·x³)))/2"""

    approx: Literal["none", "tanh"] = "none"


@dataclass(frozen=True, eq=False)
class Silu(Function):
    """x·sigmoid(x)"""


@dataclass(frozen=True, eq=False)
class Spline(Function):
    """A piecewise quadratic in the place of a function.

    In fixed point ``quad`` is the format of its quadratics (twice x's scale, and the coefficients'), and x is
    compared with the knots in a ring of ``width`` bits; the sum of pieces and gates is rounded to ``num``.
    """

    spline: SplineSpec
    quad: Fixed | None = field(default=None, kw_only=True)
    width: int | None = field(default=None, kw_only=True)


# ---- functions of a row


@dataclass(frozen=True, eq=False)
class Softmax(Function):
    """exp(x) / Σ exp(x) along ``axis``; 0 in a row that is all −∞"""

    axis: int = -1

    def result_shape(self) -> tuple[int, ...]:
        normal_axis(self, self.axis, self.x.type.rank)
        return self.x.type.shape


@dataclass(frozen=True, eq=False)
class LayerNorm(Function):
    """γ·(x − mean x) / √(var x + ε) + β over the last axis"""

    gamma: Op
    beta: Op
    eps: float

    def result_shape(self) -> tuple[int, ...]:
        for each in (self.gamma, self.beta):
            _expect_row(self, each)
        return self.x.type.shape


@dataclass(frozen=True, eq=False)
class RMSNorm(Function):
    """γ·x / √(mean x² + ε) over the last axis"""

    gamma: Op
    eps: float

    def result_shape(self) -> tuple[int, ...]:
        _expect_row(self, self.gamma)
        return self.x.type.shape


def _expect_row(op: LayerNorm | RMSNorm, row: Op) -> None:
    if row.type.shape != op.x.type.shape[-1:]:
        raise IRError(f"{type(op).__name__} {op.name}: {row.type} does not fit rows of {op.x.type}")
