"""Two roles, one program. A protocol is written once against `Party` and run by both sides.

`each` is local work of one role; `tell` sends what the speaker computes and gives it to both; `swap`
sends both ways in one flight; both are an `exchange`. Nobody writes a bare receive, so the two sides cannot
disagree on order. With no channel the same program is *priced*: nothing is computed, sizes go to the ledger.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from math import prod
from typing import TypeVar

import numpy as np

from ..base import wire
from ..base.prg import Prg
from ..base.ring import Ring, packed_size
from ..base.wire import Buffer
from ..net.channel import Channel, memory_pair
from ..net.frame import HEADER
from .ahead import Ahead
from .ledger import Ledger
from .ports import CotSource, Engines, LinearEngine
from .role import CLIENT, SERVER, Role
from .turns import Turns

T = TypeVar("T")

Message = tuple[Role, int, int, Callable[[], Buffer]]
"""Who speaks, and so many bits of so many elements, packed."""

Part = tuple[int, tuple[int, ...], Callable[[], Ring]]
"""Bits an element, shape and elements of a tensor that is sent."""


class Party:
    """One side of a connection, or, with ``role`` None, its price.

    Args:
        role, channel: who this is and how it reaches the other; both None while pricing.
        engines: makes what this party computes with. Only what needs no engine runs without.

    Attributes:
        channel: None while pricing. It may be replaced between two programs.
        ledger: where every message is booked; a new one for each program (`begin`).
        prg: this party's secret randomness.
        turns: jobs that share flights.
    """

    def __init__(
        self,
        role: Role | None,
        channel: Channel | None = None,
        engines: Callable[[Party], Engines] | None = None,
    ) -> None:
        if (role is None) != (channel is None):
            raise ValueError("a priced party has neither role nor channel")
        self.role = role
        self.ledger = Ledger()
        self.prg = Prg()
        self.turns = Turns()
        self.channel = channel
        self._make = engines
        self._engines = engines(self) if engines else None

    @property
    def cots(self) -> Mapping[Role, CotSource]:
        """Correlated OTs by their sender."""
        return self._equipment.cots

    @property
    def linear(self) -> LinearEngine:
        """Products of matrices."""
        return self._equipment.linear

    @property
    def ahead(self) -> Ahead:
        """Material that is there already."""
        return self._equipment.ahead

    @property
    def _equipment(self) -> Engines:
        if self._engines is None:
            raise RuntimeError("a party that was given no engines was asked to compute with one")
        return self._engines

    def begin(self) -> Ledger:
        """A new program starts: a ledger of its own, which is returned."""
        self.ledger = Ledger()
        return self.ledger

    def renew(self) -> None:
        """Engines that begin anew; what the old ones have set up is gone."""
        self.close()
        self._engines = self._make(self) if self._make else None

    @property
    def pricing(self) -> bool:
        return self.role is None

    def flush(self) -> None:
        """Wait until everything that was said is under way."""
        if self.channel is not None:
            self.channel.flush()

    def close(self) -> None:
        """Nothing of this party's goes on after it, until it is used again."""
        if self._engines is not None:
            self._engines.linear.close()

    def end(self) -> None:
        """Close for good, and let go of all that was set up: engines and party know each other."""
        self.close()
        self._engines = None

    def each(
        self, *, server: Callable[[], T] | None = None, client: Callable[[], T] | None = None
    ) -> T | None:
        """Local work: run this role's thunk, give None to the other (and to a priced program)."""
        mine = {SERVER: server, CLIENT: client}.get(self.role) if self.role else None
        return mine() if mine is not None else None

    def alone(self, role: Role, work: Callable[[], T]) -> T | None:
        """Local work of ``role``, whichever that is; None at the other and in a priced program."""
        return work() if self.role is role else None

    def both(self, work: Callable[[], T]) -> T | None:
        """Local work that reads alike on both sides."""
        return None if self.pricing else work()

    def random(self, bits: int, shape: tuple[int, ...]) -> Ring | None:
        """Uniform ring elements that only this party knows."""
        return None if self.pricing else self.prg.ring(bits, shape)

    def tell_bytes(self, speaker: Role, size: int, make: Callable[[], Buffer]) -> Buffer | None:
        """``speaker`` sends ``size`` bytes; both get them."""
        return self.exchange([(speaker, 1, 8 * size, make)])[0]

    def exchange(self, messages: Sequence[Message]) -> list[Buffer | None]:
        """Several messages in one flight: each side says its own before it listens, and both get all.

        None in place of each while pricing.
        """
        sizes: dict[Role, int] = {}
        for speaker, bits, count, _ in messages:
            sizes[speaker] = sizes.get(speaker, 0) + HEADER.size + packed_size(count, bits)
        flight, channel = self.ledger.said(sizes), self.channel
        mine = [
            None if channel is None or speaker is not self.role else _said(channel, bits, count, make)
            for speaker, bits, count, make in messages
        ]
        self.turns.wait()
        self.ledger.heard(flight)
        if channel is None:
            return [None] * len(messages)
        return [
            channel.recv(packed_size(count, bits)) if own is None else own
            for own, (_, bits, count, _) in zip(mine, messages, strict=True)
        ]

    def tell(self, speaker: Role, bits: int, shape: tuple[int, ...], make: Callable[[], Ring]) -> Ring | None:
        """``speaker`` sends a ring tensor, packed to ``bits`` an element; both get it."""
        return self.tell_all([(speaker, (bits, shape, make))])[0]

    def tell_all(self, parts: Sequence[tuple[Role, Part]]) -> list[Ring | None]:
        """Several of them, each by its own speaker, in one flight."""
        return self._rings(parts)

    def _rings(self, parts: Sequence[tuple[Role, Part]]) -> list[Ring | None]:
        mine: dict[int, Ring] = {}

        def said(i: int, bits: int, make: Callable[[], Ring]) -> Buffer:
            mine[i] = make()
            return wire.pack(mine[i], bits)

        heard = self.exchange(
            [
                (speaker, bits, prod(shape), partial(said, i, bits, make))
                for i, (speaker, (bits, shape, make)) in enumerate(parts)
            ]
        )
        return [
            None if data is None else _unpacked(mine.get(i), data, bits, shape)
            for i, (data, (_, (bits, shape, _))) in enumerate(zip(heard, parts, strict=True))
        ]

    def swap(
        self, bits: int, shape: tuple[int, ...], make: Callable[[], Ring]
    ) -> tuple[Ring | None, Ring | None]:
        """Both send a tensor of the same shape in one flight: (one's own, the other's).

        (None, None) while pricing.
        """
        return self.swap_all([(bits, shape, make)])[0]

    def swap_all(self, parts: Sequence[Part]) -> list[tuple[Ring | None, Ring | None]]:
        """Several of them, in the same flight."""
        said = self._rings([(role, part) for part in parts for role in Role])
        return [self._own_first(*said[i : i + 2]) for i in range(0, len(said), 2)]

    def swap_packed(
        self, parts: Sequence[tuple[int, int, Callable[[], Buffer]]]
    ) -> list[tuple[Buffer | None, Buffer | None]]:
        """The same of what is packed already, so many bits of so many elements: (one's own, the other's)."""
        said = self.exchange([(role, *part) for part in parts for role in Role])
        return [self._own_first(*said[i : i + 2]) for i in range(0, len(said), 2)]

    def _own_first(self, server: T, client: T) -> tuple[T, T]:
        return (client, server) if self.role is CLIENT else (server, client)


def _unpacked(own: Ring | None, data: Buffer, bits: int, shape: tuple[int, ...]) -> Ring:
    """What was said, by the party itself where that is known."""
    return (wire.unpack(data, bits, prod(shape)) if own is None else own).reshape(shape)


def _said(channel: Channel, bits: int, count: int, make: Callable[[], Buffer]) -> Buffer:
    """``count`` elements, sent."""
    data, size = make(), packed_size(count, bits)
    if memoryview(data).nbytes != size:
        raise AssertionError(f"a message of {memoryview(data).nbytes} bytes was announced as {size}")
    channel.send(data)
    return data


def together(
    program: Callable[[Party], T], engines: Callable[[Party], Engines] | None = None
) -> tuple[T, T, Ledger]:
    """Run both roles in this process (tests): the server's result, the client's, the server's ledger."""
    ends = memory_pair()
    parties = {role: Party(role, end, engines) for role, end in zip((SERVER, CLIENT), ends, strict=True)}
    results: dict[Role, T] = {}
    faults: dict[Role, BaseException] = {}

    def run(role: Role) -> None:
        try:
            results[role] = program(parties[role])
        except BaseException as fault:  # handed to the caller below
            faults[role] = fault
        finally:
            ends[0 if role is SERVER else 1].close()
            parties[role].close()

    thread = threading.Thread(target=run, args=(CLIENT,), daemon=True)
    thread.start()
    run(SERVER)
    thread.join()
    for fault in sorted(faults.values(), key=lambda f: "closed the connection" in str(f)):
        raise fault
    return results[SERVER], results[CLIENT], parties[SERVER].ledger


def priced(program: Callable[[Party], object], engines: Callable[[Party], Engines] | None = None) -> Ledger:
    """What `together(program)` would put on the wire, without computing anything."""
    party = Party(None, engines=engines)
    program(party)
    return party.ledger


def reveal(num_mask: np.uint64, server: Ring, client: Ring) -> Ring:
    """Put two shares together (tests and the client's output)."""
    return (server + client) & num_mask
