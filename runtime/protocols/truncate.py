"""Drop low bits and change the ring: [x / 2^s] in Z/2^l' from [x] in Z/2^l.

Shifting both shares is right up to the carry w between them, which costs 2^(l-s). With |x| < 2^(l-2)
an offset makes x's top bit 0, and then w = msb0 or msb1 (Cheetah, eprint 2022/207), which is
msb0 + msb1 - msb0·msb1: a product of a bit of each side. Offline that of two random bits is made, by one OT
of one ring element; online both bits are opened against them (Beaver, CRYPTO 1991). Where l' <= l - s that
multiple vanishes and nothing is sent.

    offline  sender -> other    t0 - t1 + r              l' - (l - s) bits
    online   both -> both       msb xor a random bit     1 bit

The result is x / 2^s rounded down or up at random, without bias: to the one with the chance that the
other is far. What is a multiple of 2^s stays exact.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from typing import ClassVar

import numpy as np

from ..base.ring import Fixed, Ring, known
from ..base.share import Share
from ..party.party import Part, Party
from ..party.role import SERVER, Role
from .halves import Half, halves
from .random_ot import random_ot


@dataclass(frozen=True, repr=False)
class TruncateMade:
    """A random bit of this party's, and its share of the product of both sides' bits; None for no carry."""

    TAG: ClassVar[str] = "truncate"

    r: Ring | None
    rr: Ring | None


def rescaling(old: Fixed, new: Fixed) -> tuple[int, int]:
    """(bits to drop, bits of the carry that survive in the new ring); ValueError where there is no way."""
    drop = old.scale - new.scale
    if not 0 <= drop < old.bits:
        raise ValueError(f"cannot rescale {old} to {new}: a scale only falls, by less than the ring's bits")
    return drop, max(0, new.bits - (old.bits - drop))


def truncate_offline(p: Party, old: Fixed, new: Fixed, shape: tuple[int, ...]) -> TruncateMade:
    _, carry_bits = rescaling(old, new)
    if not carry_bits:
        return TruncateMade(None, None)
    carry = Fixed(carry_bits)
    products = [_BitProducts(p, carry, half) for half in halves(prod(shape), carry_bits)]
    said = p.tell_all([each.told() for each in products])
    if p.pricing:
        return TruncateMade(None, None)
    r = np.concatenate([known(each.r) for each in products])
    rr = np.concatenate([each.share(known(tau)) for each, tau in zip(products, said, strict=True)])
    return TruncateMade(r.reshape(shape), rr.reshape(shape))


class _BitProducts:
    """Of random bits, one of each side, on their way through the sender's message.

    Attributes:
        r: this party's bits.
    """

    def __init__(self, p: Party, num: Fixed, half: Half) -> None:
        self._num, self._half, self._sends = num, half, p.role is half.sender
        self._ot = random_ot(p, half.sender, num.bits, (half.count,))
        self.r = p.random(1, (half.count,)) if self._sends else self._ot.choice

    def told(self) -> tuple[Role, Part]:
        ot, num = self._ot, self._num
        tau = lambda: num.wrap(known(ot.t0) - known(ot.t1) + known(self.r))  # noqa: E731
        return self._half.sender, (num.bits, (self._half.count,), tau)

    def share(self, tau: Ring) -> Ring:
        ot = self._ot
        return self._num.wrap(-known(ot.t0) if self._sends else known(ot.t) + known(self.r) * tau)


def truncate(p: Party, x: Share, new: Fixed, made: TruncateMade) -> Share:
    """Needs |x| < 2^(l-2) where the carry counts; exact when no bit is dropped."""
    return truncate_all(p, [(x, new, made)])[0]


def truncate_all(p: Party, asked: Sequence[tuple[Share, Fixed, TruncateMade]]) -> list[Share]:
    """Several, in one flight."""
    running = [_Truncation(p, *each) for each in asked]
    carrying = [each for each in running if each.carry_bits]
    if carrying:
        swapped = p.swap_all([(1, each.x.shape, each.opened) for each in carrying])
        for each, (ours, theirs) in zip(carrying, swapped, strict=True):
            each.join(ours, theirs)
    return [each.result() for each in running]


class _Truncation:
    """One truncation on its way through its message."""

    def __init__(self, p: Party, x: Share, new: Fixed, made: TruncateMade) -> None:
        self.x = x
        self.drop, self.carry_bits = (0, 0) if x.num == new else rescaling(x.num, new)
        self._p, self._new, self._made = p, new, made
        self._w: Ring | None = None
        old = x.num
        self._offset = 1 << (old.bits - 2) if self.carry_bits else 0
        # Two floors lose 1 - 2^-s on average. So much is put back: a unit after the shift, less 1 before it.
        self._unit = int(self.drop > 0)
        before = np.uint64((self._offset - self._unit) % 2**64)
        self._mine = p.each(client=lambda: x.ring, server=lambda: old.wrap(x.ring + before))

    def opened(self) -> Ring:
        return self._msb() ^ known(self._made.r)

    def join(self, ours: Ring | None, theirs: Ring | None) -> None:
        """The carry, of what both sides have opened."""
        r, rr = self._made.r, self._made.rr

        def of(mine: Ring, other: Ring, own: Ring) -> Ring:
            """msb less this side's share of the product of both."""
            # (d xor r)(e xor s) = (d + (1 - 2d)r)(e + (1 - 2e)s), of which d, e are open, and r·s is shared
            turn = (1 - 2 * mine.astype(np.int64)) * (1 - 2 * other.astype(np.int64))
            return self._msb() - own - turn.view(np.uint64) * known(rr)

        def server() -> Ring:
            return of(known(ours), known(theirs), known(theirs) * self._msb())

        def client() -> Ring:
            sign = (1 - 2 * known(ours).astype(np.int64)).view(np.uint64)
            return of(known(ours), known(theirs), sign * known(theirs) * known(r))

        self._w = self._p.each(server=server, client=client)

    def result(self) -> Share:
        x, new = self.x, self._new
        if x.num == new:
            return x
        return x.like(self._p.both(lambda: new.wrap(self._shifted() - self._carried())), new)

    def _msb(self) -> Ring:
        return known(self._mine) >> np.uint64(self.x.num.bits - 1)

    def _shifted(self) -> Ring:
        back = self._unit - (self._offset >> self.drop) if self._p.role is SERVER else 0
        return (known(self._mine) >> np.uint64(self.drop)) + np.uint64(back % 2**64)

    def _carried(self) -> Ring | np.uint64:
        if not self.carry_bits:
            return np.uint64(0)
        return Fixed(self.carry_bits).wrap(known(self._w)) << np.uint64(self.x.num.bits - self.drop)
