"""Small table look-ups: 1-of-2^k OT from k random OTs, after Kolesnikov-Kumaresan and SIRNN.

The sender holds a table of 2^k entries of ``width`` bits, the receiver an index. Every entry is
masked by pads of which the receiver knows the one at a random index r, so the table turned by
(index xor r) opens at the index alone.

    receiver -> sender   index xor r                k bits
    sender -> receiver   table xor turned pads      2^k · width bits
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..ledger import Role
from ..party import Party
from ..ring import Ring, known
from .random_ot import keyed_ot

Bytes = NDArray[np.uint8]


@dataclass(frozen=True, repr=False)
class LeafMade:
    """Pads (count, 2^k, entry bytes) at the sender; a random index and its pad at the receiver."""

    sender: Role
    count: int
    index_bits: int
    width: int
    pads: Bytes | None = None
    r: Bytes | None = None
    pad: Bytes | None = None


def _entry_bytes(width: int) -> int:
    return (width + 7) // 8


def leaf_offline(p: Party, sender: Role, count: int, index_bits: int, width: int) -> LeafMade:
    size, entry = 1 << index_bits, _entry_bytes(width)
    ots = [keyed_ot(p, sender, count, size * entry) for _ in range(index_bits)]
    if p.pricing:
        return LeafMade(sender, count, index_bits, width)
    index = np.arange(size)
    if p.role is sender:
        pads = np.zeros((count, size, entry), np.uint8)
        for i, ot in enumerate(ots):
            high = (index >> i) & 1 == 1
            pads[:, ~high] ^= known(ot.k0).reshape(pads.shape)[:, ~high]
            pads[:, high] ^= known(ot.k1).reshape(pads.shape)[:, high]
        return LeafMade(sender, count, index_bits, width, pads=pads)
    r = np.zeros(count, np.uint8)
    for i, ot in enumerate(ots):
        r |= known(ot.choice) << np.uint8(i)
    pad = np.zeros((count, entry), np.uint8)
    here = np.arange(count)
    for ot in ots:
        pad ^= known(ot.k).reshape(count, size, entry)[here, r]
    return LeafMade(sender, count, index_bits, width, r=r, pad=pad)


def leaf_point(p: Party, made: LeafMade, index: Callable[[], Bytes]) -> Ring | None:
    """First message: the receiver's masked index, (count,)."""

    def masked() -> Ring:
        return (index() ^ known(made.r)).astype(np.uint64)

    return p.tell(made.sender.other, made.index_bits, (made.count,), masked)


def leaf_answer(p: Party, made: LeafMade, turn: Ring | None, table: Callable[[], Ring]) -> Ring | None:
    """Second message: ``table()`` is (count, 2^k); gives the receiver its entry, (count,)."""
    size = 1 << made.index_bits

    def masked() -> Ring:
        spots = np.arange(size, dtype=np.int64)[None, :] ^ known(turn).astype(np.int64)[:, None]
        turned: Ring = _words(known(made.pads))[np.arange(made.count)[:, None], spots]
        return table() ^ (turned & _low(made.width))

    said = p.tell(made.sender, made.width, (made.count, size), masked)
    if p.pricing or p.role is made.sender:
        return None
    index = (known(turn) ^ known(made.r).astype(np.uint64)).astype(np.int64)
    entry: Ring = known(said)[np.arange(made.count), index]
    return entry ^ (_words(known(made.pad)[:, None, :])[:, 0] & _low(made.width))


def _words(pads: Bytes) -> Ring:
    """(count, size, entry) bytes as (count, size) little-endian words."""
    out = np.zeros(pads.shape[:2], np.uint64)
    for i in range(pads.shape[2]):
        out |= pads[:, :, i].astype(np.uint64) << np.uint64(8 * i)
    return out


def _low(width: int) -> np.uint64:
    return np.uint64((1 << width) - 1)
