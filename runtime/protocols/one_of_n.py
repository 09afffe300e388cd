"""Small table look-ups: 1-of-2^k OT from k random OTs, after Kolesnikov-Kumaresan and SIRNN.

The sender holds a table of 2^k entries of ``width`` bits, the receiver an index. Every entry is
masked by pads of which the receiver knows the one at a random index r, so the table turned by
(index xor r) opens at the index alone. A pad is the XOR of parts of the OTs' keys and hashes nothing
itself: who knows an entry that it did not choose has a part of an OT's key at most, and `ot.keys` says
what that is worth.

    receiver -> sender   index xor r                k bits
    sender -> receiver   table xor turned pads      2^k · width bits
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from .. import _ring
from ..base.ring import Ring, known
from ..base.wire import Buffer, as_bytes
from ..party.party import Message, Part, Party
from ..party.role import Role
from .random_ot import keyed_ot

Bytes = NDArray[np.uint8]

Seal = Callable[[Bytes, Ring], Bytes]
"""Of pads and turn: (count, 2^k) entries, packed, each masked by the pad at its index xor the turn."""


@dataclass(frozen=True, repr=False)
class OneOfNMade:
    """Pads (count, 2^k, entry bytes) at the sender; a random index and its pad at the receiver."""

    TAG: ClassVar[str] = "one-of-n"

    sender: Role
    count: int
    index_bits: int
    width: int
    pads: Bytes | None = None
    r: Bytes | None = None
    pad: Bytes | None = None

    def stored(self) -> OneOfNMade:
        """The same without the bits of pads that no entry reaches, which need not be kept on disk."""
        if self.width >= 8:
            return self
        keep = np.uint8((1 << self.width) - 1)
        return replace(
            self,
            pads=None if self.pads is None else self.pads & keep,
            pad=None if self.pad is None else self.pad & keep,
        )


def one_of_n_offline(p: Party, sender: Role, count: int, index_bits: int, width: int) -> OneOfNMade:
    """Material for ``count`` look-ups; ``width`` at most 64 bits, ``index_bits`` at most 8."""
    size, entry = 1 << index_bits, (width + 7) // 8
    ots = [keyed_ot(p, sender, count, size * entry) for _ in range(index_bits)]
    if p.pricing:
        return OneOfNMade(sender, count, index_bits, width)
    if p.role is sender:
        k0, k1 = np.stack([known(ot.k0) for ot in ots]), np.stack([known(ot.k1) for ot in ots])
        pads = _ring.one_of_n_pads(k0, k1, entry)
        return OneOfNMade(sender, count, index_bits, width, pads=pads)
    r = np.zeros(count, np.uint8)
    for i, ot in enumerate(ots):
        r |= known(ot.choice) << np.uint8(i)
    pad = np.zeros((count, entry), np.uint8)
    here = np.arange(count)
    for ot in ots:
        pad ^= known(ot.k).reshape(count, size, entry)[here, r]
    return OneOfNMade(sender, count, index_bits, width, r=r, pad=pad)


def one_of_n_choice(made: OneOfNMade, index: Callable[[], Bytes]) -> tuple[Role, Part]:
    """First message: the receiver's masked index, (count,)."""
    return made.sender.other, (
        made.index_bits,
        (made.count,),
        lambda: (index() ^ known(made.r)).astype(np.uint64),
    )


def one_of_n_tables(made: OneOfNMade, turn: Ring | None, seal: Seal) -> Message:
    """Second message, as ``seal`` makes it."""
    count = made.count << made.index_bits
    return made.sender, made.width, count, lambda: seal(known(made.pads), known(turn)).data


def one_of_n_entry(made: OneOfNMade, turn: Ring | None, said: Buffer) -> Ring:
    """What the receiver finds in the tables that were said, (count,)."""
    index = known(turn).astype(np.uint8) ^ known(made.r)
    return _ring.one_of_n_open(as_bytes(said), index, known(made.pad), made.index_bits, made.width)
