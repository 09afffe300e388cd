"""Ops on each element: arithmetic, comparisons, kinds of numbers."""

from __future__ import annotations

from dataclasses import dataclass, field

from ppc.frontend.ir.graph import BOOL, BoolType, IRError, Num, Op, TensorType
from ppc.frontend.ir.infer import broadcast, joined, product
from ppc.runtime.base.ring import Fixed


@dataclass(frozen=True, eq=False)
class Binary(Op):
    """Elementwise, with broadcasting."""

    a: Op
    b: Op

    def infer(self) -> TensorType:
        shape = broadcast(self, self.a.type.shape, self.b.type.shape)
        return TensorType(shape, self.result(self.a.type.num, self.b.type.num))

    def result(self, a: Num, b: Num) -> Num:
        return joined(self, a, b)


@dataclass(frozen=True, eq=False)
class Unary(Op):
    """Elementwise; the format stays."""

    x: Op

    def infer(self) -> TensorType:
        return TensorType(self.x.type.shape, self.result(self.x.type.num))

    def result(self, x: Num) -> Num:
        return x


@dataclass(frozen=True, eq=False)
class Add(Binary):
    """a + b"""


@dataclass(frozen=True, eq=False)
class Sub(Binary):
    """a − b"""


@dataclass(frozen=True, eq=False)
class Mul(Binary):
    """a · b; scales add."""

    def result(self, a: Num, b: Num) -> Num:
        return product(self, a, b)


@dataclass(frozen=True, eq=False)
class Div(Binary):
    """a / b; integers divide toward zero. ``num`` is the result's format, a's where that is not said."""

    num: Num | None = field(default=None, kw_only=True)

    def result(self, a: Num, b: Num) -> Num:
        return self.num or (a if isinstance(a, Fixed) else joined(self, a, b))


@dataclass(frozen=True, eq=False)
class Mod(Binary):
    """a mod b with the sign of b, or of a where ``fmod``."""

    fmod: bool = False


@dataclass(frozen=True, eq=False)
class Pow(Binary):
    """aᵇ"""

    num: Num | None = field(default=None, kw_only=True)

    def result(self, a: Num, b: Num) -> Num:
        return self.num or a


@dataclass(frozen=True, eq=False)
class Max(Binary):
    """The larger of two, elementwise."""


@dataclass(frozen=True, eq=False)
class Min(Binary):
    """The smaller of two, elementwise."""


@dataclass(frozen=True, eq=False)
class Comparison(Binary):
    def result(self, a: Num, b: Num) -> Num:
        joined(self, a, b)
        return BOOL


@dataclass(frozen=True, eq=False)
class Equal(Comparison):
    """a = b"""


@dataclass(frozen=True, eq=False)
class Less(Comparison):
    """a < b"""


@dataclass(frozen=True, eq=False)
class Greater(Comparison):
    """a > b"""


@dataclass(frozen=True, eq=False)
class LessOrEqual(Comparison):
    """a ≤ b"""


@dataclass(frozen=True, eq=False)
class GreaterOrEqual(Comparison):
    """a ≥ b"""


@dataclass(frozen=True, eq=False)
class Logical(Binary):
    def result(self, a: Num, b: Num) -> Num:
        if not isinstance(a, BoolType) or not isinstance(b, BoolType):
            raise IRError(f"{type(self).__name__} {self.name}: {a} and {b} are not both bool")
        return BOOL


@dataclass(frozen=True, eq=False)
class And(Logical):
    """a ∧ b"""


@dataclass(frozen=True, eq=False)
class Or(Logical):
    """a ∨ b"""


@dataclass(frozen=True, eq=False)
class Neg(Unary):
    """−x"""


@dataclass(frozen=True, eq=False)
class Abs(Unary):
    """|x|"""


@dataclass(frozen=True, eq=False)
class Relu(Unary):
    """max(x, 0)"""


@dataclass(frozen=True, eq=False)
class Clip(Unary):
    """min(max(x, lo), hi); an end may be missing."""

    lo: float | None = None
    hi: float | None = None


@dataclass(frozen=True, eq=False)
class Not(Unary):
    """¬x"""

    def result(self, x: Num) -> Num:
        if not isinstance(x, BoolType):
            raise IRError(f"Not {self.name}: {x} is not bool")
        return BOOL


@dataclass(frozen=True, eq=False)
class IsNaN(Unary):
    """x is not a number"""

    def result(self, x: Num) -> Num:
        return BOOL


@dataclass(frozen=True, eq=False)
class Floor(Unary):
    """⌊x⌋"""


@dataclass(frozen=True, eq=False)
class Square(Unary):
    """x²; the scale doubles."""

    def result(self, x: Num) -> Num:
        return product(self, x, x)


@dataclass(frozen=True, eq=False)
class Cast(Unary):
    """The same value as another kind of number; a Fixed ``to`` rounds to that format."""

    to: Num

    def result(self, x: Num) -> Num:
        return self.to


@dataclass(frozen=True, eq=False)
class Rescale(Unary):
    """The same value in another fixed-point format: truncation, change of ring, or both."""

    num: Fixed

    def result(self, x: Num) -> Num:
        if not isinstance(x, Fixed):
            raise IRError(f"Rescale {self.name}: {x} is not fixed-point")
        return self.num


@dataclass(frozen=True, eq=False)
class Where(Op):
    """a where the condition holds, b elsewhere"""

    condition: Op
    a: Op
    b: Op

    def infer(self) -> TensorType:
        if not isinstance(self.condition.type.num, BoolType):
            raise IRError(f"Where {self.name}: the condition is {self.condition.type}")
        shape = broadcast(self, self.condition.type.shape, self.a.type.shape, self.b.type.shape)
        return TensorType(shape, joined(self, self.a.type.num, self.b.type.num))
