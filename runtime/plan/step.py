"""What a step of a plan is: a typed record of what is done, and the form of the value that it makes."""

from __future__ import annotations

from math import prod
from typing import TYPE_CHECKING, Any

import msgspec

from ..base.ring import MAX_RANK, Fixed
from ..base.share import Share
from ..he.product import Product
from ..party.party import Party

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from ..session.executor import Run

    Clear = NDArray[np.int64]

MAX_ELEMENTS = 2**30


def fits(shape: tuple[int, ...]) -> bool:
    """Whether a plan's tensor may have that shape."""
    return len(shape) <= MAX_RANK and all(d >= 1 for d in shape) and prod(shape) <= MAX_ELEMENTS


class Form(msgspec.Struct, frozen=True):
    """Format and shape of a value."""

    num: Fixed
    shape: tuple[int, ...]

    def __post_init__(self) -> None:
        if not fits(self.shape):
            raise ValueError(f"a value of shape {self.shape}")

    @property
    def size(self) -> int:
        return prod(self.shape)


class Step(msgspec.Struct, frozen=True, kw_only=True, tag_field="step", forbid_unknown_fields=True):
    """Base of all steps. ``name`` is the ONNX tensor that the value stands for, or ''."""

    name: str = ""

    def reads(self) -> tuple[int, ...]:
        return ()

    def products(self) -> tuple[Product, ...]:
        """What is made under HE."""
        return ()

    def infer(self, forms: list[Form]) -> Form:
        """Format and shape of the value; ValueError where the step is ill-formed."""
        raise TypeError(f"{type(self).__name__} has no form")

    def begin(self, p: Party, run: Run) -> Any:
        """The first offline message, where there is one that can travel with all others of its kind."""
        return None

    def offline(self, p: Party, run: Run, begun: Any) -> Any:
        """Material for one inference, made before any input exists."""
        return None

    def online(self, p: Party, run: Run, made: Any) -> Share:
        raise TypeError(f"{type(self).__name__} has no online half")

    def clear(self, run: Run) -> Clear:
        """The integer meaning, without wrapping."""
        raise TypeError(f"{type(self).__name__} has no clear meaning")


class Unary(Step, frozen=True, kw_only=True):
    x: int

    def reads(self) -> tuple[int, ...]:
        return (self.x,)


class Binary(Step, frozen=True, kw_only=True):
    a: int
    b: int

    def reads(self) -> tuple[int, ...]:
        return (self.a, self.b)
