"""Products of what one party knows with what the other knows, by correlated OT.

    [c·d] <- c at the chooser, d at the sender        c: (groups,), d: (groups, length)

After Gilboa (CRYPTO 1999): c is taken bit by bit; for bit i one OT carries d·2^i, of which only
``bits - i`` low bits matter. One OT serves the whole row of ``length`` elements.

    chooser -> sender   choice bits xor random ones     only where c is given; a random c costs nothing
    sender -> chooser   t0 - t1 + d, at bits - i bits for bit i
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from ..base import wire
from ..base.ring import Fixed, Ring, known, packed_size
from ..base.wire import Buffer
from ..party.party import Party
from ..party.role import Role
from .random_ot import KeyedOt, keyed_ot


def gilboa_random(
    p: Party, chooser: Role, bits: int, groups: int, length: int, rows: Callable[[], Ring]
) -> tuple[Ring | None, Ring | None]:
    """(c, share of c·d) where c is uniform in Z/2^bits and new; c is None at the sender."""
    ots = _ots(p, chooser.other, bits, bits, groups, length)
    share = _send_rows(p, chooser, bits, bits, groups, length, ots, rows, None)
    if p.role is not chooser:
        return None, share
    weights = np.uint64(1) << np.arange(bits, dtype=np.uint64)
    c = np.zeros(groups, np.uint64)
    for ot, weight in zip(ots, weights, strict=True):
        c += known(ot.choice).astype(np.uint64) * weight
    return c, share


def gilboa_chosen(
    p: Party,
    chooser: Role,
    bits: int,
    choice_bits: int,
    groups: int,
    length: int,
    choices: Callable[[], Ring],
    rows: Callable[[], Ring],
) -> Ring | None:
    """Share of c·d mod 2^bits, shape (groups, length), for given 0 <= c < 2^choice_bits."""
    ots = _ots(p, chooser.other, bits, choice_bits, groups, length)

    def masked() -> Ring:
        c = choices().reshape(groups)
        out = np.zeros(groups, np.uint64)
        for i, ot in enumerate(ots):
            bit = (c >> np.uint64(i)) & np.uint64(1)
            out |= (bit ^ known(ot.choice)) << np.uint64(i)
        return out

    flips = p.tell(chooser, choice_bits, (groups,), masked)
    return _send_rows(p, chooser, bits, choice_bits, groups, length, ots, rows, flips)


def _width(bits: int) -> int:
    return 1 if bits <= 8 else 2 if bits <= 16 else 4 if bits <= 32 else 8


def _ots(p: Party, sender: Role, bits: int, choice_bits: int, groups: int, length: int) -> list[KeyedOt]:
    return [keyed_ot(p, sender, groups, _width(bits - i) * length) for i in range(choice_bits)]


def _ring(raw: NDArray[np.uint8] | None, bits: int, length: int) -> Ring:
    words = np.ascontiguousarray(known(raw)).view(f"<u{_width(bits)}").reshape(-1, length)
    return words.astype(np.uint64) & np.uint64((1 << bits) - 1)


def _send_rows(
    p: Party,
    chooser: Role,
    bits: int,
    choice_bits: int,
    groups: int,
    length: int,
    ots: list[KeyedOt],
    rows: Callable[[], Ring],
    flips: Ring | None,
) -> Ring | None:
    """Both shares. ``flips`` are the chooser's corrections, if any."""
    count = groups * length
    sizes = [packed_size(count, bits - i) for i in range(choice_bits)]

    def flip(i: int) -> Ring | None:
        return None if flips is None else (flips >> np.uint64(i)) & np.uint64(1)

    def send() -> tuple[bytes, Ring]:
        """The message, and the sender's share."""
        d, parts, share = rows().reshape(groups, length), [], np.zeros((groups, length), np.uint64)
        for i, ot in enumerate(ots):
            t0, t1 = _ring(ot.k0, bits - i, length), _ring(ot.k1, bits - i, length)
            if (f := flip(i)) is not None:
                swap = f.astype(bool)[:, None]
                t0, t1 = np.where(swap, t1, t0), np.where(swap, t0, t1)
            parts.append(wire.pack(t0 - t1 + d, bits - i))
            share -= t0 << np.uint64(i)
        return b"".join(parts), share

    def hear(data: Buffer) -> Ring:
        """The chooser's share."""
        at, view, share = 0, memoryview(data), np.zeros((groups, length), np.uint64)
        for i, (ot, size) in enumerate(zip(ots, sizes, strict=True)):
            tau = wire.unpack(view[at : at + size], bits - i, count).reshape(groups, length)
            at += size
            choice = known(ot.choice).astype(np.uint64)
            if (f := flip(i)) is not None:
                choice = choice ^ f
            share += (_ring(ot.k, bits - i, length) + choice[:, None] * tau) << np.uint64(i)
        return share

    sent = p.alone(chooser.other, send)
    data = p.tell_bytes(chooser.other, sum(sizes), lambda: known(sent)[0])
    if data is None:
        return None
    return Fixed(bits).wrap(sent[1] if sent is not None else hear(data))
