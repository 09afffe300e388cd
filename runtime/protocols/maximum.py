"""The maximum of the last axis, by a tournament of comparisons.

max(a, b) = b + [a >= b]·(a - b): one comparison and one selection a match, log2(n) rounds. With
``drop`` bits dropped in the comparisons the winner may be less than the maximum by 2^drop units a
round, which is all a softmax asks for.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..party import Party
from ..ring import Fixed
from ..share import Share
from .booleans import SelectMade, select, select_offline
from .compare import CompareMade, Thresholds, compare, compare_offline


@dataclass(frozen=True, repr=False)
class MaximumMade:
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
        left, right, rest = (
            p.both(lambda s=s: np.ascontiguousarray(x.ring[..., s]))  # type: ignore[misc]
            for s in (slice(0, half), slice(half, 2 * half), slice(2 * half, None))
        )
        gap = Share(num, shape, p.both(lambda a=left, b=right: num.wrap(a - b)))  # type: ignore[misc]
        wins = compare(p, gap, Thresholds((0,), drop), compare_made)
        bit = Share(wins.num, shape, p.both(lambda w=wins: w.ring[..., 0]))  # type: ignore[misc]
        gain = select(p, bit, gap, select_made)
        winner = p.both(lambda b=right, g=gain: num.wrap(b + g.ring))  # type: ignore[misc]
        shape = (*x.shape[:-1], x.shape[-1] - half)
        x = Share(num, shape, p.both(lambda w=winner, r=rest: np.concatenate([w, r], axis=-1)))  # type: ignore[misc]
    return x
