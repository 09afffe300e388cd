"""What a step of a plan is: a typed record of what is done, and the form of the value that it makes.

A kind of step is a class whose methods are functions of its operands. It says what they are, by their places
(`reads`, `weights`, `locals`); whoever walks the plan resolves them and calls

    infer(*forms)                           the form of the value; ValueError where the step is ill-formed
    begin(p, *forms, *weights)              the first offline message, where all of its kind travel together
    offline(p, begun, *forms, *weights)     material, made before any input exists
    apart(made)                             the same, for one inference each
    online(p, out, made, *shares, …)        this party's share of the value, whose form is ``out``
    clear(*plain, …)                        the integer meaning of several samples at once, without wrapping
    reads_as_number(*plain)                 how far those go where their size counts, and how far they may

where … are the server's tensors, then the client's own values, encoded: None at the other party, and while
pricing; then this party's shares of rows that earlier programs kept, None where there are none; then how many
rows those are. In the clear a tensor is a `Factor`, which keeps what products need of it, and the client's
values are as it computes them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import prod
from typing import ClassVar

import msgspec
import numpy as np

from ..base.one_hot import OneHotRows
from ..base.ring import MAX_RANK, Fixed, Integers, Signed
from ..base.share import Share
from ..he.product import Product
from .reach import Reading

Shape = tuple[int, ...]

MAX_ELEMENTS = 2**30


def fits(shape: Shape) -> bool:
    """Whether a plan's tensor may have that shape."""
    return len(shape) <= MAX_RANK and all(d >= 1 for d in shape) and prod(shape) <= MAX_ELEMENTS


class Form(msgspec.Struct, frozen=True):
    """Format and shape of a value."""

    num: Fixed
    shape: Shape

    def __post_init__(self) -> None:
        if not fits(self.shape):
            raise ValueError(f"a value of shape {self.shape}")

    @property
    def size(self) -> int:
        return prod(self.shape)


@dataclass(frozen=True, eq=False, repr=False)
class Plain:
    """A value in the clear: integers (samples, *shape), with one sample where all have the same."""

    num: Fixed
    held: Signed | OneHotRows

    def __repr__(self) -> str:
        return f"Plain({self.num}, {self.held.shape}, <secret>)"

    @property
    def data(self) -> Signed:
        return np.asarray(self.held, np.int64)


def _nothing(*operands: object) -> None:
    """A step without an offline half."""


def _alone(made: object) -> list[object]:
    """Material that is made for one inference."""
    return [made]


class Step(msgspec.Struct, frozen=True, kw_only=True, tag_field="step", forbid_unknown_fields=True):
    """Base of all steps. ``name`` is the ONNX tensor that the value stands for, or ''.

    A kind of step gives its functions the operands, and the types of its own material, that it has.
    """

    name: str = ""

    infer: ClassVar[Callable[..., Form]]
    begin: ClassVar[Callable[..., object]] = staticmethod(_nothing)
    offline: ClassVar[Callable[..., object]] = staticmethod(_nothing)
    apart: ClassVar[Callable[..., Sequence[object]]] = staticmethod(_alone)
    online: ClassVar[Callable[..., Share]]
    clear: ClassVar[Callable[..., Signed | OneHotRows]]
    wraps: ClassVar[bool] = True
    """Whether ``clear`` may leave the value's ring."""

    def reads_as_number(self, *plain: Plain) -> tuple[Reading, ...]:
        """Of operands whose size counts, not only what they are modulo the ring."""
        return ()

    def reads(self) -> tuple[int, ...]:
        """Earlier values that it is a function of."""
        return ()

    def weights(self) -> Mapping[str, Shape]:
        """The server's tensors that it takes besides, and their shapes."""
        return {}

    def promised(self) -> int | None:
        """Bits of the bound that the plan announces for those, where the protocol relies on one."""
        return None

    def check(self, *weights: Integers) -> None:
        """Raises RangeFault where the tensors pass that bound."""

    def locals(self) -> tuple[int, ...]:
        """The client's own values that it takes besides."""
        return ()

    def recalls(self) -> tuple[str, ...]:
        """States of the connection whose rows it takes besides."""
        return ()

    def counts(self) -> bool:
        """Whether it takes besides how many rows earlier programs have kept, which both sides know."""
        return False

    def opens(self) -> bool:
        """Whether of rows that were kept it opens each once: between two parties it takes besides how many
        there are, and what is open of them."""
        return False

    def keeps(self) -> tuple[str, int] | None:
        """The state to which the value is added as rows, and along which axis."""
        return None

    def products(self) -> tuple[Product, ...]:
        """What is made under HE."""
        return ()

    def reveals(self) -> bool:
        """Whether the client learns the value."""
        return False


class Unary(Step, frozen=True, kw_only=True):
    x: int

    def reads(self) -> tuple[int, ...]:
        return (self.x,)


class Binary(Step, frozen=True, kw_only=True):
    a: int
    b: int

    def reads(self) -> tuple[int, ...]:
        return (self.a, self.b)
