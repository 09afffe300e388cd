"""The maximum of the last axis, or its place, by a tournament of comparisons.

max(a, b) = b + [a >= b]·(a - b): one comparison and one selection a match, ⌈log2(n)⌉ rounds. With
``drop`` bits dropped in the comparisons the winner may be less than the maximum by 2^drop units a
round, which is all a softmax asks for.

For the place each value carries its way below its own bits: in every round 2x + 1 plays on the left
against 2x on the right, in a ring that is larger by that bit. The left half is a power of two long, so
that the bits of a winner's way, the first round's on top, are its place with every bit turned; and of two
equal values the one of the lower place is greater. Nothing is dropped, so the place is exact: the lowest of
all that hold the maximum. It lies in the low bits of the last winner, which each party cuts off its share.
"""

from __future__ import annotations

from collections.abc import Iterator
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
    return MaximumMade([_round_offline(p, num, (*shape[:-1], n), drop) for n in _rounds(shape[-1])])


def maximum(p: Party, x: Share, drop: int, made: MaximumMade) -> Share:
    """Shape of x with a last axis of 1. Needs |a - b| < 2^(bits-1) for all pairs of a row."""
    for each in made.rounds:
        x = _round(p, x, drop, each)
    return x


def argmax_num(n: int) -> Fixed:
    """The format of a place among n, the bits of a way and a sign."""
    return Fixed(len(list(_rounds(n))) + 1)


def argmax_offline(p: Party, num: Fixed, shape: tuple[int, ...]) -> MaximumMade:
    made = []
    for n in _rounds(shape[-1]):
        num = _finer(num)
        made.append(_round_offline(p, _finer(num), (*shape[:-1], n), 0))
    return MaximumMade(made)


def argmax(p: Party, x: Share, made: MaximumMade) -> Share:
    """The lowest place of the maximum, as `maximum` has it, in `argmax_num`."""
    num = argmax_num(x.shape[-1])
    x = _marked(p, x, 0)  # the bit above the way, which is the place's sign
    for each in made.rounds:
        x = _round(p, _marked(p, x, _half(x.shape[-1])), 0, each)
    turned = num.mask >> np.uint64(1)
    data = p.each(client=lambda: num.wrap(-x.ring), server=lambda: num.wrap(turned - x.ring))
    return Share(num, x.shape, data)


def _half(n: int) -> int:
    """Places after a round: the power of two below n."""
    return 1 << ((n - 1).bit_length() - 1)


def _rounds(n: int) -> Iterator[int]:
    """Places before each round."""
    while n > 1:
        yield n
        n = _half(n)


def _round_offline(p: Party, num: Fixed, shape: tuple[int, ...], drop: int) -> tuple[CompareMade, SelectMade]:
    pairs = (*shape[:-1], shape[-1] - _half(shape[-1]))
    return compare_offline(p, num, pairs, Thresholds((0,), drop)), select_offline(p, num, pairs)


def _round(p: Party, x: Share, drop: int, made: tuple[CompareMade, SelectMade]) -> Share:
    """The greater of i and i + half for each pair; what has no partner stays as it is."""
    num, n, half = x.num, x.shape[-1], _half(x.shape[-1])
    shape = (*x.shape[:-1], n - half)
    cuts = (slice(0, n - half), slice(half, n), slice(n - half, half))
    left, right, rest = (p.both(partial(_cut, x, cut)) for cut in cuts)
    gap = Share(num, shape, p.both(partial(_minus, num, left, right)))
    wins = compare(p, gap, Thresholds((0,), drop), made[0])
    gain = select(p, Share(wins.num, shape, p.both(partial(_first, wins))), gap, made[1])
    return Share(num, (*x.shape[:-1], half), p.both(partial(_winners, num, right, gain, rest)))


def _finer(num: Fixed) -> Fixed:
    return Fixed(num.bits + 1, num.scale + 1)


def _marked(p: Party, x: Share, left: int) -> Share:
    """2x, and 1 more at the first ``left`` places, in units half as large."""
    num = _finer(x.num)
    marks = (np.arange(x.shape[-1]) < left).astype(np.uint64)
    data = p.each(client=lambda: x.ring + x.ring, server=lambda: num.wrap(x.ring + x.ring + marks))
    return Share(num, x.shape, data)


def _cut(x: Share, cut: slice) -> Ring:
    return np.ascontiguousarray(x.ring[..., cut])


def _minus(num: Fixed, a: Ring | None, b: Ring | None) -> Ring:
    return num.wrap(known(a) - known(b))


def _first(bits: Share) -> Ring:
    return np.ascontiguousarray(bits.ring[..., 0])


def _winners(num: Fixed, right: Ring | None, gain: Share, rest: Ring | None) -> Ring:
    return np.concatenate([num.wrap(known(right) + gain.ring), known(rest)], axis=-1)
