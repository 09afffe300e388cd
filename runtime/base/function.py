"""The functions of `meaning.MEANING` as records: what a plan says of one that the client computes alone.

Fields are named as those of the IR's op of the same name.
"""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

Shape = tuple[int, ...]

Value = int | float | str | tuple[int | float | str, ...]
"""Of an attribute of an ONNX operator."""

Kind = Literal["float", "int", "bool"]
"""Of an operand of one."""

PLAIN_NAMES = frozenset(
    [
        "Abs",
        "Acos",
        "Acosh",
        "Add",
        "And",
        "Asin",
        "Asinh",
        "Atan",
        "Atanh",
        "BitAnd",
        "BitNot",
        "BitOr",
        "BitXor",
        "Boolean",
        "Ceil",
        "Cos",
        "Cosh",
        "Div",
        "Equal",
        "Erf",
        "Exp",
        "Floor",
        "Greater",
        "GreaterOrEqual",
        "IsNaN",
        "Less",
        "LessOrEqual",
        "Log",
        "MatMul",
        "Max",
        "Min",
        "Mish",
        "Mul",
        "Neg",
        "Not",
        "Or",
        "Pow",
        "Quotient",
        "Reciprocal",
        "Relu",
        "Round",
        "Sigmoid",
        "Silu",
        "Sin",
        "Sinh",
        "Softplus",
        "Softsign",
        "Sqrt",
        "Square",
        "Sub",
        "Tan",
        "Tanh",
        "Truncate",
        "Where",
    ]
)
"""The functions without attributes; `meaning.PLAIN` has what they mean."""


class Function(msgspec.Struct, frozen=True, tag_field="op", tag=True, forbid_unknown_fields=True):
    @property
    def key(self) -> str:
        """Its entry in `MEANING`."""
        return type(self).__name__


class Plain(Function, frozen=True):
    """One without attributes."""

    name: str

    def __post_init__(self) -> None:
        if self.name not in PLAIN_NAMES:
            raise ValueError(f"an unknown function {self.name!r}")

    @property
    def key(self) -> str:
        return self.name


class Mod(Function, frozen=True):
    fmod: bool


class Clip(Function, frozen=True):
    lo: float | None
    hi: float | None


class Gelu(Function, frozen=True):
    approx: Literal["none", "tanh"]


class Softmax(Function, frozen=True):
    axis: int


class LogSoftmax(Function, frozen=True):
    axis: int


class LayerNorm(Function, frozen=True):
    eps: float


class RMSNorm(Function, frozen=True):
    eps: float


class Reduction(Function, frozen=True):
    axes: tuple[int, ...]
    keepdims: bool


class ReduceSum(Reduction, frozen=True):
    pass


class ReduceMean(Reduction, frozen=True):
    pass


class ReduceMax(Reduction, frozen=True):
    pass


class Product(Reduction, frozen=True):
    pass


class LogSumExp(Reduction, frozen=True):
    pass


class CumSum(Function, frozen=True):
    axis: int
    exclusive: bool
    reverse: bool


class OneHot(Function, frozen=True):
    """``name`` is what to call the ids where one is out of range."""

    depth: int
    name: str = ""


class Gather(Function, frozen=True):
    axis: int


class Reshape(Function, frozen=True):
    shape: Shape


class Broadcast(Function, frozen=True):
    shape: Shape


class Transpose(Function, frozen=True):
    perm: tuple[int, ...]


class Slice(Function, frozen=True):
    starts: tuple[int, ...]
    ends: tuple[int, ...]
    axes: tuple[int, ...]
    steps: tuple[int, ...]


class Concat(Function, frozen=True):
    axis: int


class IsInf(Function, frozen=True):
    """Which of the infinities count."""

    negative: bool
    positive: bool


class Elu(Function, frozen=True):
    """γ·x above 0, γ·α·(eˣ − 1) below."""

    alpha: float
    gamma: float = 1.0


class Celu(Function, frozen=True):
    alpha: float


class ThresholdedRelu(Function, frozen=True):
    alpha: float


class Shrink(Function, frozen=True):
    """0 within ``lambd``; ``bias`` nearer to 0 outside."""

    bias: float
    lambd: float


class ArgExtreme(Function, frozen=True):
    """The place of the greatest, or ``least``, along ``axis``: of equals the first, or the ``last``."""

    axis: int
    keepdims: bool
    last: bool
    least: bool


class Top(Function, frozen=True):
    """The ``k`` greatest or smallest along ``axis``, in order; or their ``places``."""

    axis: int
    k: int
    largest: bool
    places: bool


class BitShift(Function, frozen=True):
    left: bool


class Onnx(Function, frozen=True, kw_only=True):
    """An operator of ONNX, by name: of its ``results`` outputs the one numbered ``result``, of ``shape``.

    Operands are cast to ``kinds``, of which None stands for one that is left out.
    """

    operator: str
    opset: int
    result: int
    results: Annotated[int, Meta(ge=1, le=2**16)]
    kinds: tuple[Kind | None, ...]
    shape: Shape
    attributes: tuple[tuple[str, Value], ...] = ()


AnyFunction = (
    Plain | Mod | Clip | Gelu | Softmax | LogSoftmax | LayerNorm | RMSNorm
    | ReduceSum | ReduceMean | ReduceMax | Product | LogSumExp | CumSum
    | OneHot | Gather | Reshape | Broadcast | Transpose | Slice | Concat
    | IsInf | Elu | Celu | ThresholdedRelu | Shrink | ArgExtreme | Top | BitShift | Onnx
)  # fmt: skip
