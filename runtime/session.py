"""One inference between two processes: connect, compare what both hold, run, report.

    both -> both    magic, protocol version, plan hash, parameters' hash
"""

from __future__ import annotations

import hashlib
import socket
import struct
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .channel import HEADER, Channel, TcpTransport
from .errors import PeerMismatch
from .executor import Progress, Run, check_inputs, offline, online, price, setup
from .ledger import CLIENT, SERVER, Ledger, Role
from .local import run_local
from .party import Party
from .plan import VERSION, Plan, Weights
from .report import report

Array = NDArray[Any]

MAGIC = b"ppc-2pc\0"
HELLO = struct.Struct("<8sI32s32s")


@dataclass(frozen=True, repr=False)
class Outcome:
    """What a run leaves behind: the outputs (at the client) and the report of what it cost."""

    outputs: dict[str, Array] | None
    report: dict[str, Any]

    def __repr__(self) -> str:
        return f"Outcome(outputs {', '.join(self.outputs or ()) or 'at the peer'}, <secret>)"


def serve_one(sock: socket.socket, plan: Plan, weights: Weights, **options: Any) -> Outcome:
    """The server's side of one inference over a connected socket."""
    return _run(SERVER, sock, plan, weights, None, **options)


def infer(sock: socket.socket, plan: Plan, feeds: Mapping[str, Array], **options: Any) -> Outcome:
    """The client's side; ``feeds`` are checked before a byte is sent."""
    return _run(CLIENT, sock, plan, None, check_inputs(plan, feeds), **options)


def predict(plan: Plan) -> Ledger:
    """Bytes and flights of a whole run, the handshake included, as both sides will measure them."""
    ledger = Ledger()
    with ledger.at("setup", "handshake"):
        ledger.swapped(HEADER.size + HELLO.size, HEADER.size + HELLO.size)
    ledger.rows |= price(plan).rows
    return ledger


def _run(
    role: Role,
    sock: socket.socket,
    plan: Plan,
    weights: Weights | None,
    feeds: Mapping[str, Array] | None,
    *,
    progress: Progress | None = None,
    timeout: float = 600.0,
) -> Outcome:
    channel = Channel(TcpTransport(sock, timeout))
    begun = time.perf_counter()
    try:  # from here on a fault closes the connection, and the peer does not wait
        local = run_local(plan.local, feeds) if feeds is not None else None
        predicted = predict(plan)
        party = Party(role, channel)
        with party.ledger.at("setup", "handshake"):
            _handshake(party, channel, plan)
        setup(party, plan)
        run = Run(plan, weights, local)
        outputs = online(party, run, offline(party, run, progress), progress)
    finally:
        channel.close()
    return Outcome(outputs, report(plan, role, party.ledger, predicted, time.perf_counter() - begun))


def _handshake(p: Party, channel: Channel, plan: Plan) -> None:
    mine = (MAGIC, VERSION, bytes.fromhex(plan.hash), parameters_digest(plan))
    p.ledger.swapped(HEADER.size + HELLO.size, HEADER.size + HELLO.size)
    channel.send(HELLO.pack(*mine))
    theirs = HELLO.unpack(channel.recv(HELLO.size))
    if theirs[0] != MAGIC:
        raise PeerMismatch("the peer does not speak ppc")
    if theirs[1] != VERSION:
        raise PeerMismatch(f"protocol versions differ: {VERSION} here, {theirs[1]} at the peer; update the older one")
    if theirs[2] != mine[2]:
        raise PeerMismatch(
            f"plans differ: {plan.hash[:12]}… here, {theirs[2].hex()[:12]}… at the peer; give both the same plan.bin"
        )
    if theirs[3] != mine[3]:
        raise PeerMismatch("parameters differ: the two sides derive other HE or OT parameters from the same plan")


def parameters_digest(plan: Plan) -> bytes:
    """A hash of everything that a version of this program derives from a plan: rows and sizes of its price."""
    rows = [(key, cost.server, cost.client, cost.flights) for key, cost in price(plan).rows.items()]
    said = repr((rows, [str(product) for product in plan.products]))
    return hashlib.blake2b(said.encode(), digest_size=32).digest()


def as_arrays(values: Mapping[str, Any]) -> dict[str, Array]:
    return {name: np.asarray(value) for name, value in values.items()}
