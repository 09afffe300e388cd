"""Random oblivious transfer: the sender gets two keys, the receiver a bit and the key of that bit.

Keys are ring elements or bytes hashed from the correlated OTs of the pool. No message is sent here
beyond the pool's own extension.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from ..base.ring import Ring, known
from ..ot import keys
from ..party.party import Party
from ..party.role import Role

Bytes = NDArray[np.uint8]


@dataclass(frozen=True, repr=False)
class RandomOt:
    """Shape ``shape`` everywhere. The sender holds ``t0, t1``; the receiver ``choice`` (0 or 1) and ``t``."""

    TAG: ClassVar[str] = "random-ot"

    t0: Ring | None = None
    t1: Ring | None = None
    choice: Ring | None = None
    t: Ring | None = None


@dataclass(frozen=True, repr=False)
class KeyedOt:
    """As `RandomOt` with keys of raw bytes, shape (count, size)."""

    k0: Bytes | None = None
    k1: Bytes | None = None
    choice: Bytes | None = None
    k: Bytes | None = None


def keyed_ot(p: Party, sender: Role, count: int, size: int) -> KeyedOt:
    """``count`` random OTs of ``size`` bytes."""
    source = p.cots[sender]
    first, blocks = source.take(count)
    if blocks is None:
        return KeyedOt()
    if p.role is sender:
        k0, k1 = keys.sender_keys(blocks, known(source.delta), known(source.tweak), first, size)
        return KeyedOt(k0=k0, k1=k1)
    k = keys.receiver_keys(blocks, known(source.tweak), first, size)
    return KeyedOt(choice=keys.choice_bits(blocks), k=k)


def random_ot(p: Party, sender: Role, bits: int, shape: tuple[int, ...], vector: int = 1) -> RandomOt:
    """Random OTs of Z/2^bits, one for each place of ``shape``.

    With ``vector`` > 1 each OT carries that many elements: keys have shape ``(*shape, vector)``.
    """
    width = 1 if bits <= 8 else 2 if bits <= 16 else 4 if bits <= 32 else 8
    made = keyed_ot(p, sender, prod(shape), width * vector)
    full = (*shape, vector) if vector > 1 else shape

    def ring(raw: Bytes | None) -> Ring | None:
        if raw is None:
            return None
        words = np.ascontiguousarray(raw).view(f"<u{width}").astype(np.uint64)
        return (words & np.uint64((1 << bits) - 1)).reshape(full)

    choice = None if made.choice is None else made.choice.astype(np.uint64).reshape(shape)
    return RandomOt(ring(made.k0), ring(made.k1), choice, ring(made.k))
