"""The maximum of the last axis, by a tournament of comparisons.

max(a, b) = b + [a >= b]·(a - b): one comparison and one selection a match, log2(n) rounds. With
``drop`` bits dropped in the comparisons the winner may be less than the maximum by 2^drop units a
round, which is all a softmax asks for.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import ClassVar

import numpy as np

from ..base.ring import Fixed, Ring, known
from ..base.share import Share
from ..party.party import Party
from .booleans import SelectMade, select, select_offline
from .compare import CompareMade, Thresholds, compare, compare_offline


@dataclass(frozen=True, repr=False)
class MaximumMade:
    TAG: ClassVar[str] = "maximum"

    rounds: list[tuple[CompareMade, SelectMade]]


def maximum_offline(p: Party, num: Fixed, shape: tuple[int, ...], drop: int) -> MaximumMade:
    n, rounds = shape[-1], []
    while n > 1:
        half = (*shape[:-1], n // 2)
        rounds.append((compare_offline(p, num, half, Thresholds((0,), drop)), select_offline(p, num, half)))
        n -= n // 2
    return MaximumMade(rounds)


def maximum(p: Party, x: Share, drop: int, made: MaximumMade) -> Share:
    """Shape of x with a last axis of 1. Needs |a - b| < 2^(bits-1) for all pairs of a row."""
    num = x.num
    for compare_made, select_made in made.rounds:
        half = x.shape[-1] // 2
        shape = (*x.shape[:-1], half)
        cuts = (slice(0, half), slice(half, 2 * half), slice(2 * half, None))
        left, right, rest = (p.both(partial(_cut, x, cut)) for cut in cuts)
        gap = Share(num, shape, p.both(partial(_minus, num, left, right)))
        wins = compare(p, gap, Thresholds((0,), drop), compare_made)
        gain = select(p, Share(wins.num, shape, p.both(partial(_first, wins))), gap, select_made)
        shape = (*x.shape[:-1], x.shape[-1] - half)
        x = Share(num, shape, p.both(partial(_winners, num, right, gain, rest)))
    return x


def _cut(x: Share, cut: slice) -> Ring:
    return np.ascontiguousarray(x.ring[..., cut])


def _minus(num: Fixed, a: Ring | None, b: Ring | None) -> Ring:
    return num.wrap(known(a) - known(b))


def _first(bits: Share) -> Ring:
    return np.ascontiguousarray(bits.ring[..., 0])


def _winners(num: Fixed, right: Ring | None, gain: Share, rest: Ring | None) -> Ring:
    return np.concatenate([num.wrap(known(right) + gain.ring), known(rest)], axis=-1)
