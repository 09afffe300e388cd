"""What two sides settle before they begin: the same plan, what they are here for, and with what material.

    client -> server   magic, protocol version, plan hash, parameters' hash (checks of OTs among them)
    client -> server   purpose; ids of prepared material that it holds, and how many to prepare; its ticket
    server -> client   the first again, of the length whose hash the client has named
    server -> client   purpose; the id that it has claimed, if any, or how many it will prepare; a ticket
    client -> server   whether it could claim the same

A connection begins with it, and so does every further program on the same connection. The last message lets a
side whose file is gone or damaged fall back to a full run; what the other side has claimed by then is lost.
Nonces of both sides make the ids of what they prepare.

A connection may *go on* over another channel: what its programs have set up – keys, base OTs, where both
stand in their streams – holds as long as both sides have ended the same programs. The server gives each
channel a ticket, 16 secret bytes; the client shows it on the next, with the number of programs that it has
ended. Where the server has kept a connection under it that has ended as many, both are where they were, as if
the channel had never gone; else both begin anew, and what was kept is gone. A ticket is good for one channel.
"""

from __future__ import annotations

import hashlib
import logging
import os
import struct
from abc import ABC, abstractmethod
from collections.abc import Sequence
from enum import IntEnum
from math import inf
from typing import NamedTuple

from ..base.errors import PeerMismatch
from ..net.channel import Channel
from ..net.deadline import OPENING_SECONDS
from ..net.frame import HEADER
from ..party.party import Party
from ..party.role import CLIENT, SERVER
from ..plan.file import VERSION, Plan, release
from .engines import checks_ot
from .facts import facts
from .held import Held
from .material import Store
from .once import ID

log = logging.getLogger(__name__)

MAGIC = b"ppc-2pc\0"
HELLO = struct.Struct("<8sI32s32s")

OFFERS = 64
"""Ids that a client names at most; it names its newest."""

ASK = struct.Struct(f"<BI{OFFERS * ID}s")
PICK = struct.Struct(f"<BI{ID}s")
ACCEPT = struct.Struct("<B")

GO_ON = struct.Struct("<16sI")

Hello = tuple[bytes, int, bytes, bytes]


class Ticket(NamedTuple):
    """What a connection goes on by: secret bytes, and how many programs it has ended; 0 begins anew."""

    id: bytes = bytes(16)
    ended: int = 0

    def __repr__(self) -> str:
        return f"Ticket(<secret>, {self.ended} ended)"


NO_TICKET = Ticket()


class Request(NamedTuple):
    """What a client says first; ``asked`` is None where it speaks another version, in which it says more."""

    hello: Hello
    asked: bytes | None
    ticket: Ticket = NO_TICKET

    @property
    def plan(self) -> str:
        """The hash of the plan that it has, or of one of its lengths."""
        return self.hello[2].hex()

    @property
    def ours(self) -> bool:
        """Whether it speaks ppc, of whatever version."""
        return self.hello[0] == MAGIC

    @property
    def purpose(self) -> int:
        """`Purpose`, or another number where it is nothing that is known here."""
        return self.asked[0] if self.asked else 0

    @property
    def held(self) -> set[bytes] | None:
        """Of who would prepare: the ids of what it holds prepared; None where there may be more."""
        if self.purpose not in (Purpose.PREPARE, Purpose.AHEAD):
            return None
        ids = self.named
        return ids if len(ids) < OFFERS - 1 else None

    @property
    def named(self) -> set[bytes]:
        """Ids of prepared material that it holds, whatever it asks for; all of them where they are few."""
        if self.asked is None:
            return set()
        body, nonce = ASK.unpack(self.asked)[2], ID if self.purpose != Purpose.RUN else 0
        return {body[at : at + ID] for at in range(nonce, len(body), ID)} - {bytes(ID)}


def hear(channel: Channel) -> Request:
    """client -> server    its first two messages

    A server that waits for nobody in particular begins so, and may make up its mind before it goes on.
    """
    hello = HELLO.unpack(channel.recv(HELLO.size))
    if hello[:2] != (MAGIC, VERSION):
        return Request(hello, None)
    said = bytes(channel.recv(ASK.size + GO_ON.size))
    return Request(hello, said[: ASK.size], Ticket(*GO_ON.unpack(said[ASK.size :])))


class Purpose(IntEnum):
    RUN = 1
    PREPARE = 2
    AHEAD = 3
    """To prepare while the server has nothing better to do: it refuses rather than keep anyone waiting."""


COMMANDS = {
    Purpose.RUN: "`ppc run`",
    Purpose.PREPARE: "`ppc prepare`",
    Purpose.AHEAD: "`ppc run --ahead`",
}


class Agreed(NamedTuple):
    """What both know after the handshake: the plan, which at the server is the length that the client has
    chosen, and the ticket of this channel, with what of earlier programs holds (`Ticket.ended`)."""

    plan: Plan
    ticket: Ticket


def shake(
    p: Party, plan: Plan, terms: Terms, ticket: Ticket = NO_TICKET, heard: Request | None = None
) -> Agreed:
    """The handshake. ``ticket`` is by what the client would go on, or what the server has set up under.

    Each side says all that it can before it listens, and compares one thing at a time, so that both hear what
    differs: of another version nothing further can be read. ``heard`` is what the server has read of it.

    Raises PeerMismatch, at both sides, for another protocol, version, plan, parameters, check or purpose.
    """
    p.ledger.passed({CLIENT: 2 * HEADER.size + HELLO.size + ASK.size + GO_ON.size})
    p.ledger.passed({SERVER: 2 * HEADER.size + HELLO.size + PICK.size + GO_ON.size})
    p.ledger.passed({CLIENT: HEADER.size + ACCEPT.size})
    if p.channel is None:
        return Agreed(plan, ticket)
    if p.role is CLIENT:
        return _client(p, p.channel, plan, terms, ticket)
    return _server(p, p.channel, plan, terms, ticket, heard or hear(p.channel))


def _client(p: Party, channel: Channel, plan: Plan, terms: Terms, ticket: Ticket) -> Agreed:
    mine = _hello(p, plan)
    channel.send(HELLO.pack(*mine))
    channel.send(terms.ask() + GO_ON.pack(*ticket))
    _compare(p, plan, mine, HELLO.unpack(channel.recv(HELLO.size)))
    said = bytes(channel.recv(PICK.size + GO_ON.size))
    picked, given = said[: PICK.size], Ticket(*GO_ON.unpack(said[PICK.size :]))
    terms.compare(picked[0])
    if given.ended not in (0, ticket.ended):
        raise PeerMismatch("the server would go on from where this side is not")
    channel.send(terms.accept(picked))
    return Agreed(plan, given)


def _server(p: Party, channel: Channel, plan: Plan, terms: Terms, ticket: Ticket, heard: Request) -> Agreed:
    agreed = plan.of_hash(heard.plan) or plan
    mine = _hello(p, agreed)
    channel.send(HELLO.pack(*mine))
    _compare(p, agreed, mine, heard.hello)
    assert heard.asked is not None, "of the same version"
    channel.send(terms.pick(heard.asked, agreed) + GO_ON.pack(*ticket))
    terms.compare(heard.purpose)
    channel.within(OPENING_SECONDS)
    terms.close(bytes(channel.recv(ACCEPT.size)))
    channel.within(None)
    return Agreed(agreed, ticket)


def _hello(p: Party, plan: Plan) -> Hello:
    return MAGIC, VERSION, bytes.fromhex(plan.hash), facts(plan).digest_for(checks_ot(p))


def _compare(p: Party, plan: Plan, mine: Hello, theirs: Hello) -> None:
    magic, version, hash, parameters = theirs
    if magic != MAGIC:
        raise PeerMismatch("the peer does not speak ppc")
    if version != VERSION:
        raise PeerMismatch(
            f"versions differ: {release(VERSION)} here, {release(version)} at the peer; update the older one"
        )
    if hash != mine[2] and isinstance(hash, bytes):
        here, there = mine[2].hex()[:12], hash.hex()[:12]
        raise PeerMismatch(f"plans differ: {here}… here, {there}… at the peer; give both the same plan.bin")
    if parameters == mine[3]:
        return
    checks = checks_ot(p)
    if parameters == facts(plan).digest_for(not checks):
        here, there = ("with", "without") if checks else ("without", "with")
        raise PeerMismatch(
            f"this side runs {here} --check-ot, the peer {there}; give it to both sides or to neither"
        )
    raise PeerMismatch("parameters differ: the two sides derive other HE or OT parameters from the same plan")


class Terms(ABC):
    """One side's part: the client calls `ask` and `accept`, the server `pick` and `close`, both `compare`."""

    purpose: Purpose

    def ask(self) -> bytes:
        return ASK.pack(self.purpose, *self._offer())

    def pick(self, asked: bytes, plan: Plan) -> bytes:
        purpose, count, body = ASK.unpack(asked)
        same = purpose == self.purpose
        return PICK.pack(self.purpose, *(self._answer(count, body, plan) if same else (0, b"")))

    def accept(self, picked: bytes) -> bytes:
        _, count, body = PICK.unpack(picked)
        return ACCEPT.pack(self._conclude(count, body))

    def compare(self, purpose: int) -> None:
        """Once both have said what they are here for. Raises PeerMismatch where it is something else."""
        if purpose != self.purpose:
            theirs = {int(each): command for each, command in COMMANDS.items()}.get(purpose, "something else")
            raise PeerMismatch(f"this side runs {COMMANDS[self.purpose]}, the peer {theirs}")

    def close(self, accepted: bytes) -> None:
        self._end(ACCEPT.unpack(accepted) == (True,))

    @abstractmethod
    def _offer(self) -> tuple[int, bytes]: ...

    @abstractmethod
    def _answer(self, count: int, body: bytes, plan: Plan) -> tuple[int, bytes]: ...

    @abstractmethod
    def _conclude(self, count: int, body: bytes) -> bool: ...

    @abstractmethod
    def _end(self, accepted: bool) -> None: ...


class InferenceTerms(Terms):
    """Terms of an inference; ``store`` is where this side's material is, if it may be used.

    Attributes:
        memory: bytes of material that this side holds as it is.
        id, made: the material that both have claimed; None where there is none.
    """

    purpose = Purpose.RUN

    def __init__(self, store: Store | None = None, made: Held | None = None, *, memory: float = inf) -> None:
        self.memory = memory
        self.id: bytes | None = None
        self.made = made
        self._store = store
        self._offered: list[bytes] = []

    def offer_nothing(self) -> None:
        """At the client, which has what it needs."""
        self._store = None

    def _offer(self) -> tuple[int, bytes]:
        self._offered = _ready(self._store) if self._store else []
        return len(self._offered), b"".join(self._offered)

    def _answer(self, count: int, body: bytes, plan: Plan) -> tuple[int, bytes]:
        if count > OFFERS:
            raise PeerMismatch(f"the client offers {count} ids, more than {OFFERS}")
        self._store = self._store and self._store.of(plan)
        for at in range(0, count * ID, ID):
            if self._claim(body[at : at + ID]):
                return 1, body[at : at + ID]
        if self._store:
            _ready(self._store)
        return 0, b""

    def _conclude(self, count: int, body: bytes) -> bool:
        if not count:
            if self._offered:
                log.info("the server holds none of the %d prepared inferences here", len(self._offered))
            return False
        if body not in self._offered:
            raise PeerMismatch("the server picked prepared material that was not offered")
        return self._claim(body)

    def _end(self, accepted: bool) -> None:
        if not accepted and self.id is not None:
            log.info("the client has lost its part of %s; both start anew", self.id.hex())
            self.id = self.made = None

    def _claim(self, id: bytes) -> bool:
        self.made = self._store.claim(id, self.memory) if self._store else None
        self.id = id if self.made is not None else None
        return self.made is not None


class PreparationTerms(Terms):
    """Terms of a preparation of up to ``count`` inferences; the lower count of both sides holds.

    Attributes:
        memory: bytes of material that this side holds as it is.
        held: ids of what the client holds already, whatever length it is for.
        ids: one for each inference to prepare, the same at both sides and new.
    """

    def __init__(
        self,
        count: int,
        *,
        memory: float = inf,
        purpose: Purpose = Purpose.PREPARE,
        held: Sequence[bytes] = (),
        dry: bool = False,
    ) -> None:
        self.memory = memory
        self.purpose = purpose
        self._held = held[: OFFERS - 1]
        self.ids: list[bytes] = [bytes(ID)] * count if dry else []
        self._count = count
        self._nonce = os.urandom(ID)

    def _offer(self) -> tuple[int, bytes]:
        return self._count, self._nonce + b"".join(self._held)

    def _answer(self, count: int, body: bytes, plan: Plan) -> tuple[int, bytes]:
        self._settle(min(count, self._count), body[:ID], self._nonce)
        self._say_the_lower(count)
        return len(self.ids), self._nonce

    def _conclude(self, count: int, body: bytes) -> bool:
        if not 1 <= count <= self._count:
            raise PeerMismatch(f"the server would prepare {count} inferences, not 1 to {self._count}")
        self._settle(count, self._nonce, body)
        self._say_the_lower(count)
        return True

    def _end(self, accepted: bool) -> None:
        pass

    def _say_the_lower(self, theirs: int) -> None:
        """Where the peer's ``--count`` is another; the server has told the client none but the lower."""
        if theirs != self._count and self.purpose is Purpose.PREPARE:
            lower = len(self.ids)
            log.info("up to %d here, %d at the peer: %d are prepared", self._count, theirs, lower)

    def _settle(self, count: int, client: bytes, server: bytes) -> None:
        both = client + server
        self.ids = [_id(both + i.to_bytes(4, "little")) for i in range(count)]


def _ready(store: Store) -> list[bytes]:
    """What is prepared; where that is for other lengths of the plan alone, the log says so."""
    ids = store.ids(OFFERS)
    if store.elsewhere and not ids:
        log.info("what is prepared here (%d) is for other lengths than the one that runs", store.elsewhere)
    return ids


def _id(seed: bytes) -> bytes:
    return hashlib.blake2b(seed, digest_size=ID).digest()
