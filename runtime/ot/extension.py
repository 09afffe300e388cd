"""IKNP: correlated OTs from 127 base OTs and 127 bits each on the wire.

    receiver -> sender   for each column j: PRG(k_j0) ^ PRG(k_j1) ^ c

Ishai, Kilian, Nissim, Petrank, "Extending oblivious transfers efficiently" (CRYPTO 2003), in the form with
random choices. The sender's Delta has its lowest bit set and the receiver's choice bits are column 0, which
therefore needs neither a base OT nor a message. With a check (`check`) the receiver
extends 128 OTs more and says hashes of its columns.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .. import _ot
from ..base.ring import Ring, known
from ..base.wire import Buffer
from ..party.party import Party
from ..party.role import Role
from .base import BaseOts, base_ots
from .check import BLOCK, COLUMNS_SIZE, GROUP, challenge, check_columns

COLUMNS = _ot.COLUMNS


def message_size(n: int, check: bool = False) -> int:
    """Bytes that the receiver sends for ``n`` COTs, in one message, or with a check in two."""
    return COLUMNS * BLOCK * _groups(n, check) + COLUMNS_SIZE * check


@dataclass(frozen=True, eq=False, repr=False)
class IknpState:
    """Where an extension stands: its base OTs, and the groups of 128 that it has made of them.

    Attributes:
        tag: 16 public bytes.
        seeds: uint8 (127·16,), the sender's one of each pair, the receiver's both.
        delta: at the sender.
    """

    tag: bytes
    seeds: tuple[NDArray[np.uint8], ...]
    delta: Ring | None
    counter: int


class Iknp:
    """COTs from ``sender`` to the other role, after one `setup`.

    Args:
        check: the sender checks each extension.

    Attributes:
        delta: the sender's correlation, uint64 (1, 2) with the lowest bit set; None elsewhere.
        tag: 16 public bytes unique to this session and direction; None while pricing.
    """

    def __init__(self, sender: Role, *, check: bool = False) -> None:
        self.sender = sender
        self._check = check
        self.delta: Ring | None = None
        self.tag: bytes | None = None
        self._seeds: tuple[NDArray[np.uint8], ...] | None = None
        self._counter = 0

    def __repr__(self) -> str:
        return f"Iknp(sender={self.sender.value}, {self._counter * 128} made)"

    def setup(self, p: Party) -> None:
        """127 base OTs, in which the COT sender is the receiver and its choices are Delta."""
        base = base_ots(p, self.sender.other, COLUMNS)
        self.tag = base.tag
        self.delta = _delta(base)
        seeds = (base.seeds,) if base.seeds is not None else (base.seeds0, base.seeds1)
        self._seeds = tuple(np.ascontiguousarray(s).ravel() for s in seeds if s is not None)

    @property
    def state(self) -> IknpState:
        """Two that go on from the same one would use each mask twice."""
        if self._seeds is None:
            raise RuntimeError("an extension without base OTs has no state")
        return IknpState(known(self.tag), self._seeds, self.delta, self._counter)

    def resume(self, state: IknpState) -> None:
        """In place of `setup`."""
        self.tag, self._seeds, self.delta = state.tag, state.seeds, state.delta
        self._counter = state.counter

    def assume_set_up(self) -> None:
        """While pricing: an earlier program of the connection made the base OTs."""
        self._seeds = ()

    def extend(self, p: Party, n: int) -> Ring | None:
        """The next ``n`` blocks, uint64 (n, 2); None while pricing. The receiver speaks.

        Raises PeerDeviates at the sender where it checks; nothing made here may be used then.
        """
        if self._seeds is None:
            raise RuntimeError("IKNP was asked for COTs before its base OTs were made")
        groups, counter, seeds, receiver = (
            _groups(n, self._check),
            self._counter,
            self._seeds,
            self.sender.other,
        )
        self._counter += groups
        made = p.alone(
            receiver,
            lambda: _ot.iknp_receive(seeds[0], seeds[1], counter, p.prg.bytes(BLOCK * groups)),
        )
        said = p.tell_bytes(receiver, COLUMNS * BLOCK * groups, lambda: known(made)[0].data)
        rows = made[1] if made is not None else self._sent(counter, said)
        if self._check:
            seed = p.both(lambda: challenge(b"ppc IKNP check", known(self.tag), counter, said))
            check_columns(p, self.sender, seed, self.delta, rows)
        return None if rows is None else rows[:n]

    def _sent(self, counter: int, said: Buffer | None) -> Ring | None:
        """The sender's blocks."""
        if said is None or self._seeds is None:
            return None
        return _ot.iknp_send(self._seeds[0], known(self.delta), counter, np.frombuffer(said, np.uint8))


def _groups(n: int, check: bool) -> int:
    """Groups of 128 that are extended, one of them the check's mask."""
    return -(-n // GROUP) + check


def _delta(base: BaseOts) -> Ring | None:
    if base.choices is None:
        return None
    bits = np.concatenate([np.ones(1, np.uint8), base.choices])
    return np.packbits(bits, bitorder="little").view("<u8").reshape(1, 2).astype(np.uint64)
