"""Every IR op, one small class each: its operands, its attributes, and the type of what comes out.

Broadcasting is numpy's. Where operands are ``Fixed`` a product's scales add, and sums need one format;
functions that end in a format of their own choice carry it as ``num``.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from ppc.frontend.ir.graph import (
    BOOL,
    FLOAT,
    INT,
    BoolType,
    FloatType,
    Graph,
    Input,
    IntType,
    IRError,
    Num,
    Op,
    TensorType,
)
from ppc.frontend.ir.spline import SplineSpec
from ppc.runtime.ring import Fixed


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


# ---- what stands at the leaves


@dataclass(frozen=True, eq=False)
class Const(Op):
    """A tensor known at compile time. ``secret``: it derives from the model's weights, the server's alone.

    ``value`` is held read-only; floats stay in the width they came in and mean reals. ``num`` set to a Fixed
    says in which format the value is to be encoded; the value itself stays real.
    """

    value: NDArray[Any]
    secret: bool = False
    num: Num | None = field(default=None, kw_only=True)

    def __post_init__(self) -> None:
        value = np.asarray(self.value)
        if value.dtype == np.float16:
            value = value.astype(np.float32)
        elif value.dtype.kind in "iu":
            value = value.astype(np.int64, copy=False)
        elif value.dtype.kind not in "fb":
            raise IRError(f"a constant of {value.dtype}")
        value = value.view()
        value.setflags(write=False)
        object.__setattr__(self, "value", value)
        super().__post_init__()

    def infer(self) -> TensorType:
        kinds: dict[str, Num] = {"f": FLOAT, "i": INT, "b": BOOL}
        return TensorType(self.value.shape, self.num or kinds[self.value.dtype.kind])


# ---- elementwise


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


# ---- functions of one real


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
    """exp(x) / Σ exp(x) along ``axis``"""

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


# ---- products


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


# ---- reductions


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
    """max x"""


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


# ---- look-ups


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
        return TensorType(x.shape[:axis] + indices.shape + x.shape[axis + 1 :], x.num)


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


# ---- structure


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
        shape = list(x.shape)
        for axis, index in self.indices().items():
            shape[axis] = len(range(*index.indices(x.shape[axis])))
        return TensorType(tuple(shape), x.num)

    def indices(self) -> dict[int, slice]:
        """A Python slice for every axis cut."""
        rank = self.x.type.rank
        found = {}
        for axis, start, end, step in zip(self.axes, self.starts, self.ends, self.steps, strict=True):
            at = normal_axis(self, axis, rank)
            # ONNX runs backwards down to 0 with an end far below; to numpy that is an end left open
            stop = None if step < 0 and end < -self.x.type.shape[at] else end
            found[at] = slice(start, stop, step)
        return found


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


def scalar(op: Op) -> float | None:
    """The number in a constant of one element, None for anything else."""
    if isinstance(op, Const) and op.value.size == 1 and op.value.dtype.kind in "fi":
        return float(op.value.reshape(()).item())
    return None


__all__ = [
    "BOOL",
    "FLOAT",
    "INT",
    "Abs",
    "Add",
    "And",
    "Binary",
    "BoolType",
    "Broadcast",
    "Cast",
    "Clip",
    "Concat",
    "Const",
    "CumSum",
    "Div",
    "Equal",
    "Erf",
    "Exp",
    "FloatType",
    "Floor",
    "Function",
    "Gather",
    "Gelu",
    "Graph",
    "Greater",
    "GreaterOrEqual",
    "IRError",
    "Input",
    "IntType",
    "IsNaN",
    "LayerNorm",
    "Less",
    "LessOrEqual",
    "MatMul",
    "Max",
    "Min",
    "Mod",
    "Mul",
    "Neg",
    "Not",
    "Num",
    "OneHot",
    "Op",
    "Or",
    "Pow",
    "RMSNorm",
    "Reciprocal",
    "ReduceMax",
    "ReduceMean",
    "ReduceSum",
    "Reduction",
    "Relu",
    "Rescale",
    "Reshape",
    "Sigmoid",
    "Silu",
    "Slice",
    "Softmax",
    "Spline",
    "Sqrt",
    "Square",
    "Sub",
    "Tanh",
    "TensorType",
    "Transpose",
    "Unary",
    "Where",
    "scalar",
]
