"""Products of what one party knows with what the other knows, by correlated OT.

    [c·d] <- c at the chooser, d at the sender        c: (groups,), d: (groups, length)

After Gilboa (CRYPTO 1999): c is taken bit by bit; for bit i one OT carries d·2^i, of which only
``bits - i`` low bits matter. One OT serves the whole row of ``length`` elements.

    chooser -> sender   choice bits xor random ones     only where c is given; a random c costs nothing
    sender -> chooser   t0 - t1 + d, at bits - i bits for bit i
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from ..base import wire
from ..base.ring import Fixed, Ring, known, packed_size
from ..base.wire import Buffer
from ..party.party import Message, Party
from ..party.role import Role
from .random_ot import keyed_ot


def gilboa_random(
    p: Party, bits: int, length: int, asked: Sequence[tuple[Role, int, Callable[[], Ring]]]
) -> list[tuple[Ring | None, Ring | None]]:
    """(c, share of c·d) for each chooser, groups and d of ``asked``, all in one flight.

    c is uniform in Z/2^bits and new; it is None at the sender.
    """
    running = [_Rows(p, chooser, bits, bits, groups, length, rows) for chooser, groups, rows in asked]
    said = p.exchange([each.message() for each in running])
    return [(each.chosen(), each.share(data)) for each, data in zip(running, said, strict=True)]


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
    crossing = _Rows(p, chooser, bits, choice_bits, groups, length, rows)

    def masked() -> Ring:
        c = choices().reshape(groups)
        out = np.zeros(groups, np.uint64)
        for i, ot in enumerate(crossing.ots):
            bit = (c >> np.uint64(i)) & np.uint64(1)
            out |= (bit ^ known(ot.choice)) << np.uint64(i)
        return out

    crossing.flips = p.tell(chooser, choice_bits, (groups,), masked)
    (data,) = p.exchange([crossing.message()])
    return crossing.share(data)


class _Rows:
    """One product on its way through its message.

    Attributes:
        flips: the chooser's corrections, if it is given what it chooses.
    """

    flips: Ring | None = None

    def __init__(
        self, p: Party, chooser: Role, bits: int, choice_bits: int, groups: int, length: int,
        rows: Callable[[], Ring],
    ) -> None:  # fmt: skip
        self._p, self._chooser, self._bits, self._rows = p, chooser, bits, rows
        self._groups, self._length = groups, length
        self._sizes = [packed_size(groups * length, bits - i) for i in range(choice_bits)]
        self._sent: Ring | None = None
        self.ots = [keyed_ot(p, chooser.other, groups, _width(bits - i) * length) for i in range(choice_bits)]

    def message(self) -> Message:
        """sender -> chooser    the rows of all bits, masked"""
        return self._chooser.other, 1, 8 * sum(self._sizes), self._send

    def chosen(self) -> Ring | None:
        """c at the chooser, where it is random."""
        if self._p.role is not self._chooser:
            return None
        c = np.zeros(self._groups, np.uint64)
        for i, ot in enumerate(self.ots):
            c |= known(ot.choice).astype(np.uint64) << np.uint64(i)
        return c

    def share(self, said: Buffer | None) -> Ring | None:
        """This party's of the product, (groups, length)."""
        if said is None:
            return None
        return Fixed(self._bits).wrap(self._hear(said) if self._sent is None else self._sent)

    def _flip(self, i: int) -> Ring | None:
        return None if self.flips is None else (self.flips >> np.uint64(i)) & np.uint64(1)

    def _send(self) -> bytes:
        """The message; the sender's share is found beside it."""
        d, parts = self._rows().reshape(self._groups, self._length), []
        share = np.zeros_like(d)
        for i, ot in enumerate(self.ots):
            bits = self._bits - i
            t0, t1 = _ring(ot.k0, bits, self._length), _ring(ot.k1, bits, self._length)
            if (f := self._flip(i)) is not None:
                swap = f.astype(bool)[:, None]
                t0, t1 = np.where(swap, t1, t0), np.where(swap, t0, t1)
            parts.append(wire.pack(t0 - t1 + d, bits))
            share -= t0 << np.uint64(i)
        self._sent = share
        return b"".join(parts)

    def _hear(self, data: Buffer) -> Ring:
        """The chooser's share."""
        count = self._groups * self._length
        at, view, share = 0, memoryview(data), np.zeros((self._groups, self._length), np.uint64)
        for i, (ot, size) in enumerate(zip(self.ots, self._sizes, strict=True)):
            bits = self._bits - i
            tau = wire.unpack(view[at : at + size], bits, count).reshape(share.shape)
            at += size
            choice = known(ot.choice).astype(np.uint64)
            if (f := self._flip(i)) is not None:
                choice = choice ^ f
            share += (_ring(ot.k, bits, self._length) + choice[:, None] * tau) << np.uint64(i)
        return share


def _width(bits: int) -> int:
    return 1 if bits <= 8 else 2 if bits <= 16 else 4 if bits <= 32 else 8


def _ring(raw: NDArray[np.uint8] | None, bits: int, length: int) -> Ring:
    words = np.ascontiguousarray(known(raw)).view(f"<u{_width(bits)}").reshape(-1, length)
    return words.astype(np.uint64) & np.uint64((1 << bits) - 1)
