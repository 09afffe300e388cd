"""Whether values stay within their limits: comparisons, and one zero test of what they say.

A value is right modulo its ring whatever happens, so what is tested is its residue: of a ring of 2^b units,
in which limits are `high - low` apart, all of [high, low + 2^b) is outside, and noticed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from ..base.ring import Fixed, Int64, Signed, known
from ..base.share import Share
from ..party.party import Party
from ..party.role import SERVER
from .all_zero import AllZeroMade, all_zero, all_zero_offline
from .booleans import Bits
from .compare import CompareMade, Thresholds, compare_all, compare_offline


@dataclass(frozen=True)
class Limits:
    """low <= x < high in units of x, either of them open; comparisons leave ``drop`` bits out, so that what
    is less than 2^drop beyond a limit may pass, as `Thresholds` has it."""

    low: Int64 | None
    high: Int64 | None
    drop: int = 0

    def __post_init__(self) -> None:
        if self.low is None and self.high is None:
            raise ValueError("limits on neither side")
        _ = self.thresholds

    @property
    def thresholds(self) -> Thresholds:
        return Thresholds(tuple(t for t in (self.low, self.high) if t is not None), self.drop)

    def check(self, num: Fixed) -> None:
        """Raises ValueError where a ring cannot tell what is within from what is not."""
        far = [abs(t) for t in (self.low, self.high) if t is not None]
        if max(far) >= 1 << (num.bits - 1):
            raise ValueError(f"limits {self.low} and {self.high} are beyond {num}")

    def left(self, x: Signed, num: Fixed) -> NDArray[np.bool_]:
        """Where x, integers of any size, is outside modulo its ring."""
        residue = num.reduced(x)
        found = np.zeros(residue.shape, bool)
        if self.low is not None:
            found |= residue < self.low
        if self.high is not None:
            found |= residue >= self.high
        return found


@dataclass(frozen=True, repr=False)
class WithinMade:
    TAG: ClassVar[str] = "within"

    compares: list[CompareMade]
    zero: AllZeroMade


def within_offline(
    p: Party, asked: Sequence[tuple[Fixed, tuple[int, ...], Limits]], groups: int
) -> WithinMade:
    """``groups``: 1, or as many as values, of which the client learns each by itself."""
    compares = [compare_offline(p, num, shape, limits.thresholds) for num, shape, limits in asked]
    return WithinMade(compares, all_zero_offline(p, groups))


def within(
    p: Party, asked: Sequence[tuple[Share, Limits]], groups: int, made: WithinMade
) -> NDArray[np.bool_] | None:
    """Of each group whether all values are within their limits, at the client."""
    signs = compare_all(
        p, [(x, limits.thresholds, each) for (x, limits), each in zip(asked, made.compares, strict=True)]
    )
    outside = [_outside(p, sign, limits) for sign, (_, limits) in zip(signs, asked, strict=True)]
    if groups == 1:
        outside = [p.both(lambda: np.concatenate([known(each) for each in outside]))]
    return all_zero(p, outside, made.zero)


def _outside(p: Party, signs: Share, limits: Limits) -> Bits | None:
    """Not [x >= low], and [x >= high]: shares of bits that are all 0 within."""

    def bits() -> Bits:
        found = signs.ring.astype(np.uint8).reshape(prod(signs.shape[:-1]), -1)
        if limits.low is not None and p.role is SERVER:
            found[:, 0] ^= 1
        return found.reshape(-1)

    return p.both(bits)
