"""Fixed-point numbers in the rings Z/2^bits.

Ring elements travel as ``uint64`` arrays reduced to ``bits`` bits; a signed value is read from the
symmetric interval [-2^(bits-1), 2^(bits-1)).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, TypeVar

import numpy as np
from msgspec import Meta
from numpy.typing import ArrayLike, NDArray

Ring = NDArray[np.uint64]
Signed = NDArray[np.int64]
Integers = NDArray[np.signedinteger[Any]]
"""Signed integers in any width that holds them, as weights are kept."""

T = TypeVar("T")

MAX_BITS = 64
MAX_SCALE = 256
"""Of either sign; a product has its factors' sum, and 2^scale must be a double."""

MAX_RANK = 8
"""Axes of a tensor."""

Int64 = Annotated[int, Meta(ge=-(2**63), le=2**63 - 1)]
"""A plan's integer that enters an array."""


@dataclass(frozen=True)
class Fixed:
    """A fixed-point format: integers mod 2^bits that stand for multiples of 2^-scale."""

    bits: int
    scale: int = 0

    def __post_init__(self) -> None:
        if not 1 <= self.bits <= MAX_BITS:
            raise ValueError(f"a ring has 1 to {MAX_BITS} bits, not {self.bits}")
        if abs(self.scale) > MAX_SCALE:
            raise ValueError(f"a scale is at most {MAX_SCALE} bits, not {self.scale}")

    def __str__(self) -> str:
        return f"i{self.bits}f{self.scale}"

    @property
    def mask(self) -> np.uint64:
        return np.uint64((1 << self.bits) - 1)

    def wrap(self, x: ArrayLike) -> Ring:
        """Reduce integers (any sign) into the ring."""
        return np.asarray(x).astype(np.uint64, copy=False) & self.mask

    def signed(self, x: Ring) -> NDArray[np.int64]:
        """The representative in [-2^(bits-1), 2^(bits-1))."""
        shift = np.uint64(64 - self.bits)
        return (np.asarray(x, np.uint64) << shift).view(np.int64) >> np.int64(64 - self.bits)

    def reduced(self, x: Signed) -> Signed:
        """What `signed` reads of any integers once they are in the ring."""
        if self.bits == MAX_BITS:
            return x
        shift = MAX_BITS - self.bits
        moved = np.asarray(x << shift)
        return np.right_shift(moved, shift, out=moved)

    def encode(self, x: ArrayLike) -> Ring:
        """Round reals to this format; raises OverflowError where one does not fit."""
        scaled = np.rint(np.asarray(x, np.float64) * 2.0**self.scale)
        limit = 2.0 ** (self.bits - 1)
        if scaled.size and not (np.all(scaled >= -limit) and np.all(scaled < limit)):
            worst = float(np.max(np.abs(np.asarray(x, np.float64))))
            raise OverflowError(f"{worst:g} does not fit {self}, which holds ±{limit / 2.0**self.scale:g}")
        return self.wrap(scaled.astype(np.int64))

    def decode(self, x: Ring) -> NDArray[np.float64]:
        return self.signed(x).astype(np.float64) * 2.0**-self.scale

    def times(self, other: Fixed) -> Fixed:
        """The format of a product: one ring, scales added."""
        if self.bits != other.bits:
            raise ValueError(f"a product needs one ring, not {self} and {other}")
        return Fixed(self.bits, self.scale + other.scale)

    def with_bits(self, bits: int) -> Fixed:
        return Fixed(bits, self.scale)


BIT = Fixed(1, 0)
"""Boolean shares: XOR is addition in Z/2."""


def same(*nums: Fixed) -> Fixed:
    """The one format of all arguments; raises where two differ."""
    first = nums[0]
    for num in nums[1:]:
        if num != first:
            raise ValueError(f"formats differ: {first} and {num}; rescale one of them")
    return first


def packed_size(count: int, bits: int) -> int:
    """Bytes of ``count`` ring elements on the wire."""
    return (count * bits + 7) // 8


def known(x: T | None) -> T:
    """x, where the program's structure says that it is there: local work of the role that holds it."""
    if x is None:
        raise AssertionError("a role touched what only the other knows")
    return x


def as_u64(x: Integers | NDArray[np.unsignedinteger[Any]]) -> Ring:
    """Integers of any width modulo 2^64, contiguous."""
    return np.ascontiguousarray(x, dtype=np.uint64)
