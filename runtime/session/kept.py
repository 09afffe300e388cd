"""What a server keeps of a connection whose channel has ended, until its client comes again: it fits a file.

It is where both sides stand in their streams of OTs, and the client's public keys. Two connections that went
on from it would mask what differs with the same bits, and so tell it: it is taken out of its connection,
which is over then, and `service.parking` gives it to one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from ..he.bfv import HeState
from ..he.engine import HeEngine
from ..ot.pool import Pool, PoolState
from ..party.party import Party
from ..party.role import Role
from .connection import Connection
from .engines import checks_ot
from .handshake import Ticket


@dataclass(frozen=True, eq=False, repr=False)
class Kept:
    """
    Attributes:
        ticket: by what its client goes on.
        checked: whether OT extension is checked.
        cots: by sender, where base OTs are made.
        linear: the client's public keys, where there are any.
    """

    ticket: Ticket
    checked: bool
    cots: Mapping[Role, PoolState]
    linear: HeState | None

    def __repr__(self) -> str:
        return f"Kept({self.ticket})"

    @staticmethod
    def of(connection: Connection) -> Kept:
        """Taken out of the server's connection, between two programs; that is of no further use."""
        pools, linear = _engines(connection.party)
        cots = {role: state for role, pool in pools.items() if (state := pool.state) is not None}
        kept = Kept(connection.ticket, checks_ot(connection.party), cots, linear.state)
        connection.end()
        return kept

    def into(self, connection: Connection) -> None:
        """Have a connection that begins go on from here; its ticket is its own."""
        pools, linear = _engines(connection.party)
        for role, state in self.cots.items():
            pools[role].resume(state)
        if self.linear is not None:
            linear.resume(self.linear)
        connection.ticket = connection.ticket._replace(ended=self.ticket.ended)


def _engines(p: Party) -> tuple[Mapping[Role, Pool], HeEngine]:
    """Those of which it is known what outlasts a channel. TypeError for others."""
    pools = {role: source for role, source in p.cots.items() if isinstance(source, Pool)}
    if len(pools) < len(p.cots) or not isinstance(p.linear, HeEngine):
        raise TypeError("an engine of another kind says nothing of how a connection goes on")
    return pools, p.linear


class Named(msgspec.Struct, frozen=True):
    """A kept connection and whose it is: the name in a certificate, None without one."""

    name: str | None
    kept: Kept


def encode(named: Named) -> bytes:
    return msgspec.msgpack.encode(named, enc_hook=_flat)


def decode(data: bytes) -> Named:
    """The inverse of `encode`; ValueError for anything else."""
    try:
        return msgspec.msgpack.decode(data, type=Named, dec_hook=_array)
    except msgspec.MsgspecError as error:
        raise ValueError(f"not a kept connection: {error}") from None


def _flat(x: object) -> object:
    if isinstance(x, np.ndarray):
        return x.dtype.str, x.shape, np.ascontiguousarray(x).data.cast("B")
    raise TypeError(f"a kept connection holds no {type(x).__name__}")


def _array(kind: type, x: Any) -> NDArray[Any]:
    dtype, shape, data = x
    return np.frombuffer(data, dtype).reshape(shape).copy()
