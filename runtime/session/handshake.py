"""What two sides with the same plan settle before they begin: what they are here for, and with what material.

    client -> server   purpose; the ids of prepared material that it holds, or how many to prepare
    server -> client   purpose; the one of them that it has claimed, if any, or how many it will prepare
    client -> server   whether it could claim the same

The last message lets a side whose file is gone or damaged fall back to a full run; what the other side has
claimed by then is lost. Nonces of both sides make the ids of what they prepare.
"""

from __future__ import annotations

import hashlib
import os
import struct
from enum import IntEnum
from typing import Any

from ..base.errors import PeerMismatch
from .material import ID, Say, Store

OFFERS = 64
"""Ids that a client names at most; it names its newest."""

ASK = struct.Struct(f"<BI{OFFERS * ID}s")
PICK = struct.Struct(f"<BI{ID}s")
ACCEPT = struct.Struct("<B")


class Purpose(IntEnum):
    RUN = 1
    PREPARE = 2


class Terms:
    """One side's part: the client calls `ask` and `accept`, the server `pick`, `compare` and `close`."""

    purpose: Purpose

    def ask(self) -> bytes:
        return ASK.pack(self.purpose, *self._offer())

    def pick(self, asked: bytes) -> bytes:
        purpose, count, body = ASK.unpack(asked)
        return PICK.pack(self.purpose, *(self._answer(count, body) if purpose == self.purpose else (0, b"")))

    def accept(self, picked: bytes) -> bytes:
        """Raises PeerMismatch where the server is here for something else."""
        purpose, count, body = PICK.unpack(picked)
        self._compare(purpose)
        return ACCEPT.pack(self._conclude(count, body))

    def compare(self, asked: bytes) -> None:
        """At the server, once it has said what it is here for. Raises as `accept` does."""
        self._compare(asked[0])

    def close(self, accepted: bytes) -> None:
        self._end(ACCEPT.unpack(accepted) == (True,))

    def _compare(self, purpose: int) -> None:
        if purpose != self.purpose:
            theirs = {1: "`ppc run`", 2: "`ppc prepare`"}.get(purpose, "something else")
            raise PeerMismatch(f"this side runs `ppc {self.purpose.name.lower()}`, the peer {theirs}")

    def _offer(self) -> tuple[int, bytes]:
        raise NotImplementedError

    def _answer(self, count: int, body: bytes) -> tuple[int, bytes]:
        raise NotImplementedError

    def _conclude(self, count: int, body: bytes) -> bool:
        raise NotImplementedError

    def _end(self, accepted: bool) -> None:
        raise NotImplementedError


class Running(Terms):
    """Terms of an inference; ``store`` is where this side's material is, if it may be used.

    Attributes:
        id, made: the material that both have claimed; None where there is none.
    """

    purpose = Purpose.RUN

    def __init__(self, store: Store | None, say: Say = lambda line: None) -> None:
        self.id: bytes | None = None
        self.made: list[Any] | None = None
        self._store = store
        self._say = say
        self._offered: list[bytes] = []

    def _offer(self) -> tuple[int, bytes]:
        self._offered = self._store.ids(OFFERS) if self._store else []
        return len(self._offered), b"".join(self._offered)

    def _answer(self, count: int, body: bytes) -> tuple[int, bytes]:
        if count > OFFERS:
            raise PeerMismatch(f"the client offers {count} ids, more than {OFFERS}")
        for at in range(0, count * ID, ID):
            if self._claim(body[at : at + ID]):
                return 1, body[at : at + ID]
        return 0, b""

    def _conclude(self, count: int, body: bytes) -> bool:
        if not count:
            if self._offered:
                self._say(f"the server holds none of the {len(self._offered)} prepared inferences here")
            return False
        if body not in self._offered:
            raise PeerMismatch("the server picked prepared material that was not offered")
        return self._claim(body)

    def _end(self, accepted: bool) -> None:
        if not accepted and self.id is not None:
            self._say(f"the client has lost its part of {self.id.hex()}; both start anew")
            self.id = self.made = None

    def _claim(self, id: bytes) -> bool:
        self.made = self._store.claim(id) if self._store else None
        self.id = id if self.made is not None else None
        return self.made is not None


class Preparing(Terms):
    """Terms of a preparation of up to ``count`` inferences; the lower count of both sides holds.

    Attributes:
        ids: one for each inference to prepare, the same at both sides and new.
    """

    purpose = Purpose.PREPARE

    def __init__(self, count: int) -> None:
        self.ids: list[bytes] = []
        self._count = count
        self._nonce = os.urandom(ID)

    def _offer(self) -> tuple[int, bytes]:
        return self._count, self._nonce

    def _answer(self, count: int, body: bytes) -> tuple[int, bytes]:
        self._settle(min(count, self._count), body[:ID], self._nonce)
        return len(self.ids), self._nonce

    def _conclude(self, count: int, body: bytes) -> bool:
        if not 1 <= count <= self._count:
            raise PeerMismatch(f"the server would prepare {count} inferences, not 1 to {self._count}")
        self._settle(count, self._nonce, body)
        return True

    def _end(self, accepted: bool) -> None:
        pass

    def _settle(self, count: int, client: bytes, server: bytes) -> None:
        both = client + server
        self.ids = [_id(both + i.to_bytes(4, "little")) for i in range(count)]


def _id(seed: bytes) -> bytes:
    return hashlib.blake2b(seed, digest_size=ID).digest()
