"""Two roles, one program. A protocol is written once against `Party` and run by both sides.

`each` is local work of one role; `tell` sends what the speaker computes and gives it to both; `swap`
sends both ways in one flight. Nobody writes a bare receive, so the two sides cannot disagree on
order. With no channel the same program is *priced*: nothing is computed, sizes go to the ledger.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from math import prod
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from ..base import wire
from ..base.prg import Prg
from ..base.ring import Ring, packed_size
from ..base.wire import Buffer
from ..net.channel import HEADER, Channel, memory_pair
from .ledger import Ledger
from .role import CLIENT, SERVER, Role

if TYPE_CHECKING:
    from ..he.engine import HeSession
    from ..ot.pool import Pool

T = TypeVar("T")


class Party:
    """One side of a run, or, with ``role`` None, its price.

    Attributes:
        role: who this is; None while pricing.
        ledger: where every message is booked.
        prg: this party's secret randomness.
        pools: correlated OTs by sender, from setup on.
        he: this party's half of the homomorphic encryption, from setup on.
    """

    pools: dict[Role, Pool]
    he: HeSession

    def __init__(self, role: Role | None, channel: Channel | None = None) -> None:
        if (role is None) != (channel is None):
            raise ValueError("a priced party has neither role nor channel")
        self.role = role
        self.ledger = Ledger()
        self.prg = Prg()
        self._channel = channel

    @property
    def pricing(self) -> bool:
        return self.role is None

    def close(self) -> None:
        """Nothing of this run goes on after it."""
        if hasattr(self, "he"):
            self.he.close()

    def each(
        self, *, server: Callable[[], Any] | None = None, client: Callable[[], Any] | None = None
    ) -> Any:
        """Local work: run this role's thunk, give None to the other (and to a priced program)."""
        mine = {SERVER: server, CLIENT: client}.get(self.role) if self.role else None
        return mine() if mine is not None else None

    def both(self, work: Callable[[], T]) -> T | None:
        """Local work that reads alike on both sides."""
        return None if self.pricing else work()

    def random(self, bits: int, shape: tuple[int, ...]) -> Ring | None:
        """Uniform ring elements that only this party knows."""
        return None if self.pricing else self.prg.ring(bits, shape)

    def tell_bytes(self, speaker: Role, size: int, make: Callable[[], Buffer]) -> Buffer | None:
        """``speaker`` sends ``size`` bytes; both get them."""
        self.ledger.message(speaker, HEADER.size + size)
        if self._channel is None:
            return None
        if self.role is not speaker:
            return self._channel.recv(size)
        data = make()
        _check_size(data, size)
        self._channel.send(data)
        return data

    def tell(self, speaker: Role, bits: int, shape: tuple[int, ...], make: Callable[[], Ring]) -> Ring | None:
        """``speaker`` sends a ring tensor, packed to ``bits`` an element; both get it."""
        count = prod(shape)
        said: list[Ring] = []

        def packed() -> Buffer:
            said.append(make())
            return wire.pack(said[0], bits)

        data = self.tell_bytes(speaker, packed_size(count, bits), packed)
        if data is None:
            return None
        return said[0].reshape(shape) if said else wire.unpack(data, bits, count).reshape(shape)

    def swap(self, bits: int, shape: tuple[int, ...], make: Callable[[], Ring]) -> Ring | None:
        """Both send a tensor of the same shape in one flight; each gets the other's."""
        count = prod(shape)
        size = packed_size(count, bits)
        self.ledger.swapped(HEADER.size + size, HEADER.size + size)
        if self._channel is None:
            return None
        data = wire.pack(make(), bits)
        _check_size(data, size)
        self._channel.send(data)
        return wire.unpack(self._channel.recv(size), bits, count).reshape(shape)


def _check_size(data: Buffer, size: int) -> None:
    if memoryview(data).nbytes != size:
        raise AssertionError(f"a message of {memoryview(data).nbytes} bytes was announced as {size}")


def together(program: Callable[[Party], T]) -> tuple[T, T, Ledger]:
    """Run both roles in this process (tests): the server's result, the client's, the server's ledger."""
    ends = memory_pair()
    parties = {role: Party(role, end) for role, end in zip((SERVER, CLIENT), ends, strict=True)}
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


def priced(program: Callable[[Party], Any]) -> Ledger:
    """What `together(program)` would put on the wire, without computing anything."""
    party = Party(None)
    program(party)
    return party.ledger


def reveal(num_mask: np.uint64, server: Ring, client: Ring) -> Ring:
    """Put two shares together (tests and the client's output)."""
    return (server + client) & num_mask
