"""The maximum of the last axis, or its place, by a tournament of comparisons.

max(a, b) = b + [a >= b]·(a - b): one comparison and one selection a match, ⌈log2(n)⌉ rounds. The last few
play all against all, which is more matches and fewer flights: whoever wins all of his own is selected.

With ``drop`` bits dropped all of it is done in units of 2^drop, in a ring smaller by those bits, which
is free: each party shifts its share. A value is rounded up or down then, as by a truncation, and so is the
maximum, which is all a softmax asks for.

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
from math import prod
from typing import ClassVar

import numpy as np

from ..base.ring import BIT, Fixed, Ring, known
from ..base.share import Share
from ..party.party import Party
from ..party.role import SERVER, Role
from .booleans import AndMade, Bits, SelectMade, and_offline, and_rows, select, select_offline
from .compare import CompareMade, Layout, Thresholds, compare, compare_offline
from .halves import FLIGHT

SIGN = Thresholds((0,))


@dataclass(frozen=True, repr=False)
class MaximumMade:
    TAG: ClassVar[str] = "maximum"

    rounds: list[tuple[CompareMade, SelectMade]]
    last: LastMade | None = None


@dataclass(frozen=True, repr=False)
class LastMade:
    """All matches of a row, the ANDs of each value's, and the selections of all values but one."""

    TAG: ClassVar[str] = "maximum-last"

    matches: CompareMade
    ands: list[AndMade]
    select: SelectMade


def maximum_offline(
    p: Party, num: Fixed, shape: tuple[int, ...], drop: int, sender: Role = SERVER, flight: int = FLIGHT
) -> MaximumMade:
    """``flight`` as for a comparison, and ``sender`` of the first round."""
    rows, num = prod(shape[:-1]), _coarse(num, drop)
    *paired, last = _schedule(rows, shape[-1], num, flight)
    made = []
    for n in paired:
        made.append(_round_offline(p, num, (*shape[:-1], n), sender, flight))
        sender = _next_sender(made[-1], sender)
    if last == 1:
        return MaximumMade(made)
    return MaximumMade(made, _last_offline(p, num, (*shape[:-1], last), sender, flight))


def maximum(p: Party, x: Share, drop: int, made: MaximumMade) -> Share:
    """Shape of x with a last axis of 1, a multiple of 2^drop less than that away from the maximum. Needs
    |a - b| < 2^(bits-1) for all pairs of a row, and where bits are dropped two units less."""
    num, shift, unit = x.num, np.uint64(drop), np.uint64(bool(drop))
    small = _coarse(num, drop)
    mine = p.each(
        client=lambda: x.ring >> shift,
        server=lambda: small.wrap((num.wrap(x.ring - unit) >> shift) + unit),  # as in `truncate`
    )
    x = x.like(mine, small)
    for each in made.rounds:
        x = _round(p, x, each)
    if made.last is not None:
        x = _last(p, x, made.last)
    return x.like(p.both(lambda: num.wrap(x.ring << shift)), num)


def _coarse(num: Fixed, drop: int) -> Fixed:
    """Units of 2^drop."""
    return Fixed(num.bits - drop)


def _schedule(rows: int, n: int, num: Fixed, flight: int) -> list[int]:
    """How many are left before each round of pairs, and before all play against all, of the least price."""
    every = [*_rounds(n), 1]

    def price(pairs: int) -> int:
        first = sum(_price(rows * (k - _half(k)), num, 0, flight) for k in every[:pairs])
        left = every[pairs]
        if left == 1:
            return first
        return first + _price(rows * left * (left - 1) // 2, num, len(_counts(left)), flight)

    return every[: min(range(len(every)), key=price) + 1]


def _price(matches: int, num: Fixed, levels: int, flight: int) -> int:
    """Bytes of a round and what its flights are worth: a comparison, ``levels`` of ANDs and a selection."""
    layout = Layout.of(num.bits, SIGN, matches, flight)
    return matches * layout.bits(1) // 8 + flight * (2 + len(layout.levels) + levels + 1)


def _matches(n: int) -> tuple[list[int], list[int]]:
    """First and second of each pair."""
    first, second = np.triu_indices(n, 1)
    return first.tolist(), second.tolist()


def _counts(n: int) -> list[int]:
    """How many bits of a value's are multiplied by others at each level, until one is left of n - 1."""
    left, found = n - 1, []
    while left > 1:
        found.append(left // 2)
        left -= left // 2
    return found


def _last_offline(p: Party, num: Fixed, shape: tuple[int, ...], sender: Role, flight: int) -> LastMade:
    *outer, n = shape
    rows, others = prod(outer), n - 1  # who wins where none of the others does is the last
    return LastMade(
        compare_offline(p, num, (*outer, n * others // 2), SIGN, sender, flight),
        [and_offline(p, rows * others * count, 1) for count in _counts(n)],
        select_offline(p, num, (*outer, others)),
    )


def _last(p: Party, x: Share, made: LastMade) -> Share:
    num, *outer, n = x.num, *x.shape
    first, second = _matches(n)
    shape, others = (*outer, len(first)), n - 1

    def gaps() -> Ring:
        return num.wrap(x.ring[..., first] - x.ring[..., second])

    wins = compare(p, Share(num, shape, p.both(gaps)), SIGN, made.matches)

    def own() -> Bits:
        """Of each value but the last its n - 1 bits, 1 where it wins: (rows, n - 1, n - 1)."""
        found = np.zeros((prod(outer), n, n), np.uint8)
        bits = wins.ring.reshape(-1, len(first)).astype(np.uint8)
        found[:, first, second] = bits
        found[:, second, first] = bits ^ np.uint8(p.role is SERVER)
        kept = ~np.eye(n, dtype=bool)[:others]
        return found[:, :others][:, kept].reshape(-1, others, others)

    left = p.both(own)
    for count, ands in zip(_counts(n), made.ands, strict=True):
        a, b = (p.both(partial(_some, left, slice(i * count, (i + 1) * count))) for i in range(2))
        (z,) = and_rows(p, a, b, [ands])
        left = p.both(partial(_and_rest, left, z, count))
    best = p.both(lambda: known(left)[..., 0].astype(np.uint64).reshape(*outer, others))
    least = p.both(lambda: num.wrap(x.ring[..., :others] - x.ring[..., others:]))
    gains = select(p, Share(BIT, (*outer, others), best), Share(num, (*outer, others), least), made.select)

    def winner() -> Ring:
        return num.wrap(gains.ring.sum(axis=-1, keepdims=True, dtype=np.uint64) + x.ring[..., others:])

    return Share(num, (*outer, 1), p.both(winner))


def _some(bits: Bits | None, at: slice) -> Bits:
    return np.ascontiguousarray(known(bits)[..., at]).ravel()


def _and_rest(bits: Bits | None, made: Bits | None, count: int) -> Bits:
    """What ``count`` pairs have become, and what had no partner."""
    left = known(bits)
    return np.concatenate([known(made).reshape(*left.shape[:2], count), left[..., 2 * count :]], axis=-1)


def argmax_num(n: int) -> Fixed:
    """The format of a place among n, the bits of a way and a sign."""
    return Fixed(len(list(_rounds(n))) + 1)


def argmax_offline(
    p: Party, num: Fixed, shape: tuple[int, ...], sender: Role = SERVER, flight: int = FLIGHT
) -> MaximumMade:
    made = []
    for n in _rounds(shape[-1]):
        num = _finer(num)
        made.append(_round_offline(p, _finer(num), (*shape[:-1], n), sender, flight))
        sender = _next_sender(made[-1], sender)
    return MaximumMade(made)


def argmax(p: Party, x: Share, made: MaximumMade) -> Share:
    """The lowest place of the maximum, as `maximum` has it, in `argmax_num`."""
    num = argmax_num(x.shape[-1])
    x = _marked(p, x, 0)  # the bit above the way, which is the place's sign
    for each in made.rounds:
        x = _round(p, _marked(p, x, _half(x.shape[-1])), each)
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


def _round_offline(
    p: Party, num: Fixed, shape: tuple[int, ...], sender: Role, flight: int
) -> tuple[CompareMade, SelectMade]:
    pairs = (*shape[:-1], shape[-1] - _half(shape[-1]))
    return compare_offline(p, num, pairs, SIGN, sender, flight), select_offline(p, num, pairs)


def _next_sender(made: tuple[CompareMade, SelectMade], sender: Role) -> Role:
    """That of the next round, which the side begins that is done with this one first.

    The sender says its first opening with the tables, and so the two answer one another: of an odd number of
    openings, the selection's among them, the other side hears the last one first, of an even one the sender.
    """
    return sender.other if len(made[0].halves[0].ands) % 2 else sender


def _round(p: Party, x: Share, made: tuple[CompareMade, SelectMade]) -> Share:
    """The greater of i and i + half for each pair; what has no partner stays as it is."""
    num, n, half = x.num, x.shape[-1], _half(x.shape[-1])
    shape = (*x.shape[:-1], n - half)
    cuts = (slice(0, n - half), slice(half, n), slice(n - half, half))
    left, right, rest = (p.both(partial(_cut, x, cut)) for cut in cuts)
    gap = Share(num, shape, p.both(partial(_minus, num, left, right)))
    wins = compare(p, gap, SIGN, made[0])
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
