"""One session between two processes: connect, compare what both hold, run or prepare, report.

The handshake:

    client -> server   magic, protocol version, plan hash, parameters' hash; what it is here for (`agreement`)
    server -> client   the same of the length that the client's hash names; what it picks
    client -> server   whether it holds that
"""

from __future__ import annotations

import hashlib
import struct
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..base.errors import PeerMismatch
from ..cost.meter import foretell
from ..net.channel import HEADER, Channel
from ..net.network import Network
from ..net.tcp import Stream, TcpTransport, link
from ..party.ledger import Ledger
from ..party.party import Party
from ..party.role import CLIENT, SERVER, Role
from ..plan.file import VERSION, Plan, Weights
from ..plan.local import run_local
from ..service.report import report
from .executor import Progress, Run, hollow, offline, online, price, setup
from .handshake import ACCEPT, ASK, PICK, Preparing, Running, Terms
from .inputs import check_inputs
from .material import Binding, Say, Store

Array = NDArray[Any]

MAGIC = b"ppc-2pc\0"
HELLO = struct.Struct("<8sI32s32s")


@dataclass(frozen=True, repr=False)
class Outcome:
    """What a session leaves behind: the outputs (at the client) and the report of what it cost.

    Attributes:
        material: ids of the prepared material that was used (one, or none), or that was made.
    """

    outputs: dict[str, Array] | None
    report: dict[str, Any]
    material: tuple[str, ...] = ()

    def __repr__(self) -> str:
        return f"Outcome(outputs {', '.join(self.outputs or ()) or 'at the peer'}, <secret>)"


@dataclass(frozen=True, kw_only=True)
class Options:
    """How a session talks.

    Attributes:
        timeout: seconds of silence after which the peer is given up.
        shape: a slower network to stand for, at this side's sending end.
        progress: called with (phase, steps done, steps in all).
        say: told what the user should know, line by line.
    """

    timeout: float = 600.0
    shape: Network | None = None
    progress: Progress | None = None
    say: Say = lambda line: None


def serve_one(
    sock: Stream, plan: Plan, weights: Weights, *, store: Store | None = None, **options: Any
) -> Outcome:
    """The server's side of one inference over a connected socket; ``options`` are those of `Options`."""
    return _run(SERVER, sock, plan, weights, None, store, Options(**options))


def infer(
    sock: Stream, plan: Plan, feeds: Mapping[str, Array], *, store: Store | None = None, **options: Any
) -> Outcome:
    """The client's side; ``feeds`` are checked before a byte is sent.

    With ``store`` material that both sides hold prepared is taken from there, and no offline phase runs.
    """
    return _run(CLIENT, sock, plan, None, check_inputs(plan, feeds), store, Options(**options))


def prepare(
    sock: Stream, plan: Plan, store: Store, count: int, weights: Weights | None = None, **options: Any
) -> Outcome:
    """One side's setup and ``count`` offline phases, left in ``store``. The server gives its weights.

    Both sides prepare the lower of their two counts. A file can be claimed once both sides have theirs.
    """
    return _prepare(sock, plan, store, Preparing(count), weights, Options(**options))


def open_store(path: Path, plan: Plan, weights: Weights | None, say: Say = lambda line: None) -> Store:
    """The store of this plan at the server, who gives its weights, or at the client."""
    return Store(path, Binding.of(plan, parameters_digest(plan), weights), say)


def predict(plan: Plan, *, prepared: bool = False) -> Ledger:
    """Bytes and flights of a whole run, the handshake included, as both sides will measure them.

    With ``prepared`` both hold material for it: no setup but the handshake, and no offline phase.
    """
    p = _begun()
    if prepared:
        made = hollow(plan)
    else:
        setup(p, plan)
        made = offline(p, Run(plan))
    online(p, Run(plan), made)
    return p.ledger


def predict_preparation(plan: Plan, count: int = 1) -> Ledger:
    """The same of a session that prepares ``count`` inferences."""
    p = _begun()
    setup(p, plan, count)
    for _ in range(count):
        offline(p, Run(plan))
        _stored(p)
    return p.ledger


def _begun() -> Party:
    """A priced party after its handshake."""
    p = Party(None)
    with p.ledger.at("setup", "handshake"):
        book_handshake(p.ledger)
    return p


def book_handshake(ledger: Ledger) -> None:
    """The handshake's messages, for those who measure and those who predict."""
    ledger.message(CLIENT, 2 * HEADER.size + HELLO.size + ASK.size)
    ledger.message(SERVER, 2 * HEADER.size + HELLO.size + PICK.size)
    ledger.message(CLIENT, HEADER.size + ACCEPT.size)


def _run(
    role: Role,
    sock: Stream,
    plan: Plan,
    weights: Weights | None,
    feeds: Mapping[str, Array] | None,
    store: Store | None,
    options: Options,
) -> Outcome:
    network, transport = link(sock, options.shape), TcpTransport(sock, options.timeout, options.shape)
    channel, longest = Channel(transport), plan
    begun, party = time.perf_counter(), Party(role, channel)
    try:  # from here on a fault closes the connection, and the peer does not wait
        local = run_local(plan.local, feeds) if feeds is not None else None
        terms = Running(store, options.say)
        with party.ledger.at("setup", "handshake"):
            plan = _meet(party, channel, plan, terms)
            if plan is not longest:  # material is prepared for the greatest length
                terms = Running(None, options.say)
            _agree(party, channel, terms)
        predicted = predict(plan, prepared=terms.made is not None)
        run, made = Run(plan, weights, local), terms.made
        if terms.id is not None:
            options.say(f"using prepared material {terms.id.hex()}")
        if made is None:
            setup(party, plan)
            made = offline(party, run, options.progress)
        outputs = online(party, run, made, options.progress)
        transport.finish()
    finally:
        channel.close()
        party.close()
    used = () if terms.id is None else (terms.id.hex(),)
    seconds = time.perf_counter() - begun
    foretold = foretell(plan, network, prepared=terms.made is not None)
    return _outcome(outputs, used, report(plan, role, party.ledger, predicted, seconds, foretold))


def _prepare(
    sock: Stream, plan: Plan, store: Store, terms: Preparing, weights: Weights | None, options: Options
) -> Outcome:
    role = store.binding.role
    network, transport = link(sock, options.shape), TcpTransport(sock, options.timeout, options.shape)
    channel = Channel(transport)
    begun, party = time.perf_counter(), Party(role, channel)
    try:
        with party.ledger.at("setup", "handshake"):
            _meet(party, channel, plan, terms)
            _agree(party, channel, terms)
        predicted = predict_preparation(plan, len(terms.ids))
        setup(party, plan, len(terms.ids))
        for id in terms.ids:
            with store.draft(id, offline(party, Run(plan, weights), options.progress)) as draft:
                _stored(party)
                draft.publish()
        transport.finish()
    finally:
        channel.close()
        party.close()
    made = tuple(id.hex() for id in terms.ids)
    seconds = time.perf_counter() - begun
    foretold = foretell(plan, network, preparations=len(made))
    return _outcome(None, made, report(plan, role, party.ledger, predicted, seconds, foretold))


def _outcome(outputs: dict[str, Array] | None, material: tuple[str, ...], found: dict[str, Any]) -> Outcome:
    return Outcome(outputs, found | {"material": list(material)}, material)


def _stored(p: Party) -> None:
    """both -> both    this side's file is safely written: a byte"""
    with p.ledger.at("offline", "stored"):
        p.swap(8, (1,), lambda: np.zeros(1, np.uint64))


def _meet(p: Party, channel: Channel, plan: Plan, terms: Terms) -> Plan:
    """Compare plans; the one agreed on, which at the server is the length that the client has chosen."""
    book_handshake(p.ledger)
    if p.role is CLIENT:
        mine = _hello(plan)
        channel.send(HELLO.pack(*mine))
        channel.send(terms.ask())
        _compare(mine, HELLO.unpack(channel.recv(HELLO.size)))
        return plan
    theirs = HELLO.unpack(channel.recv(HELLO.size))
    agreed = next((each for each in plan.lengths if bytes.fromhex(each.hash) == theirs[2]), plan)
    mine = _hello(agreed)
    channel.send(HELLO.pack(*mine))
    _compare(mine, theirs)
    return agreed


def _hello(plan: Plan) -> tuple[bytes, int, bytes, bytes]:
    return MAGIC, VERSION, bytes.fromhex(plan.hash), parameters_digest(plan)


def _agree(p: Party, channel: Channel, terms: Terms) -> None:
    if p.role is CLIENT:
        channel.send(terms.accept(bytes(channel.recv(PICK.size))))
        return
    asked = bytes(channel.recv(ASK.size))
    channel.send(terms.pick(asked))
    terms.compare(asked)
    terms.close(bytes(channel.recv(ACCEPT.size)))


def _compare(mine: tuple[bytes, int, bytes, bytes], theirs: tuple[Any, ...]) -> None:
    if theirs[0] != MAGIC:
        raise PeerMismatch("the peer does not speak ppc")
    if theirs[1] != VERSION:
        raise PeerMismatch(
            f"protocol versions differ: {VERSION} here, {theirs[1]} at the peer; update the older one"
        )
    if theirs[2] != mine[2]:
        here, there = mine[2].hex()[:12], theirs[2].hex()[:12]
        raise PeerMismatch(f"plans differ: {here}… here, {there}… at the peer; give both the same plan.bin")
    if theirs[3] != mine[3]:
        raise PeerMismatch(
            "parameters differ: the two sides derive other HE or OT parameters from the same plan"
        )


def parameters_digest(plan: Plan) -> bytes:
    """A hash of what a version of this program derives from a plan: rows and sizes of its price."""
    rows = [(key, cost.server, cost.client, cost.flights) for key, cost in price(plan).rows.items()]
    said = repr((rows, [str(product) for product in plan.products]))
    return hashlib.blake2b(said.encode(), digest_size=32).digest()


def as_arrays(values: Mapping[str, Any]) -> dict[str, Array]:
    return {name: np.asarray(value) for name, value in values.items()}
