"""Drop low bits and change the ring: [x / 2^s] in Z/2^l' from [x] in Z/2^l.

Shifting both shares is right up to the carry w between them, which costs 2^(l-s). With |x| < 2^(l-2)
an offset makes x's top bit 0, and then w = msb0 or msb1 (Cheetah, eprint 2022/207): one OT of one
ring element. Where l' <= l - s that multiple vanishes and nothing is sent.

    client -> server   msb of its share xor a random choice    1 bit
    server -> client   t0 - t1 + (1 - msb)                     l' - (l - s) bits

The result is x / 2^s rounded down or up at random, without bias: to the one with the chance that the
other is far. What is a multiple of 2^s stays exact.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from ..base.ring import Fixed, Ring, known
from ..base.share import Share
from ..party.party import Party
from ..party.role import SERVER
from .random_ot import RandomOt, random_ot


@dataclass(frozen=True, repr=False)
class TruncateMade:
    TAG: ClassVar[str] = "truncate"

    ot: RandomOt | None


def rescaling(old: Fixed, new: Fixed) -> tuple[int, int]:
    """(bits to drop, bits of the carry that survive in the new ring); ValueError where there is no way."""
    drop = old.scale - new.scale
    if not 0 <= drop < old.bits:
        raise ValueError(f"cannot rescale {old} to {new}: a scale only falls, by less than the ring's bits")
    return drop, max(0, new.bits - (old.bits - drop))


def truncate_offline(p: Party, old: Fixed, new: Fixed, shape: tuple[int, ...]) -> TruncateMade:
    _, carry_bits = rescaling(old, new)
    return TruncateMade(random_ot(p, SERVER, carry_bits, shape) if carry_bits else None)


def truncate(p: Party, x: Share, new: Fixed, made: TruncateMade) -> Share:
    """Needs |x| < 2^(l-2) where the carry counts; exact when no bit is dropped."""
    old = x.num
    drop, carry_bits = rescaling(old, new)
    if old == new:
        return x
    s = np.uint64(drop)
    top = np.uint64(old.bits - 1)
    offset = 1 << (old.bits - 2) if carry_bits else 0
    # Two floors lose 1 - 2^-s on average. So much is put back: one unit after the shift, less 1 before it.
    unit = int(drop > 0)
    before = np.uint64((offset - unit) % 2**64)
    mine = p.each(client=lambda: x.ring, server=lambda: old.wrap(x.ring + before))

    def local() -> Ring:
        back = unit - (offset >> drop) if p.role is SERVER else 0
        return (known(mine) >> s) + np.uint64(back % 2**64)

    def msb() -> Ring:
        return known(mine) >> top

    if not carry_bits:
        return x.like(p.both(lambda: new.wrap(local())), new)

    carry = Fixed(carry_bits)
    ot = made.ot
    assert ot is not None
    flip = p.tell(SERVER.other, 1, x.shape, lambda: msb() ^ known(ot.choice))

    def keys() -> tuple[Ring, Ring]:
        swap = known(flip).astype(bool)
        return np.where(swap, known(ot.t1), known(ot.t0)), np.where(swap, known(ot.t0), known(ot.t1))

    def message() -> Ring:
        t0, t1 = keys()
        return carry.wrap(t0 - t1 + np.uint64(1) - msb())

    tau = p.tell(SERVER, carry_bits, x.shape, message)
    w = p.each(
        server=lambda: msb() - keys()[0],
        client=lambda: known(ot.t) + msb() * known(tau),
    )
    return x.like(
        p.both(lambda: new.wrap(local() - (carry.wrap(known(w)) << np.uint64(old.bits - drop)))), new
    )
