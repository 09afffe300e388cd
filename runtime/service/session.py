"""A connection over a socket, from its beginning to its end: what a server and a client have in common."""

from __future__ import annotations

import logging
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from math import inf
from types import TracebackType

from ..base import heap
from ..base.errors import BadInput, NetworkFault, PeerLeft, PeerMismatch, PeerRefuses, SentOn
from ..net.address import parsed, shown
from ..net.channel import Channel, deaf
from ..net.deadline import OPENING_SECONDS
from ..net.frame import Notice, Told
from ..net.stream import Stream
from ..net.tcp import TcpTransport, link
from ..party.party import Party
from ..party.role import CLIENT, Role
from ..plan.file import Plan, Weights
from ..session.connection import Connection, Done
from ..session.engines import NOTHING, resumed
from ..session.executor import Progress
from ..session.handshake import InferenceTerms, PreparationTerms, Purpose, Request, Ticket, hear
from ..session.inputs import ClientInput
from ..session.kept import Kept
from ..session.material import Store
from .options import SessionOptions
from .report import Outcome

log = logging.getLogger(__name__)


def heed(notice: Notice) -> None:
    """What a server tells a client that waits. Raises PeerRefuses where it waits in vain."""
    match notice:
        case Notice(Told.PLACE, place):
            log.info("the server is busy; we are number %d of those that wait", place)
        case Notice(Told.BUSY, seconds):
            why = f"the server is busy and takes no more clients; come again in {seconds} s"
            raise PeerRefuses(why, seconds)
        case Notice(Told.STOPPING, seconds):
            raise PeerRefuses(f"the server stops and takes no more work; come again in {seconds} s", seconds)
        case Notice(Told.UNKNOWN):
            raise PeerRefuses("the server does not have this client on its list; ask who runs it")
        case Notice(Told.QUOTA, seconds):
            left = f"{seconds // 3600} h {seconds % 3600 // 60} min"
            raise PeerRefuses(f"this client has had its inferences of the day; the next begins in {left}")
        case Notice(Told.FULL, 0):
            raise PeerRefuses("the server prepares nothing for this client")
        case Notice(Told.FULL, held):
            raise PeerRefuses(
                f"the server holds {held} prepared inferences for this client already; use them"
            )
        case Notice(Told.ELSEWHERE, text=address):
            try:
                where = parsed(address)
            except BadInput as fault:
                raise PeerMismatch(f"the server sends this client on to no address: {fault}") from None
            raise SentOn(f"the server sends this client on to {shown(where)}", where)


AGAIN_SECONDS = 1.0
"""After which a server that has sent us where nobody answers is asked again."""

Reach = Callable[[tuple[str, int]], socket.socket | Stream]
"""A client's way to the server to which another sends it."""


class Session:
    """Inferences and preparations over one connected socket, which is closed at the end.

    A fault in one of them ends the session: nothing can be asked of it afterwards. Where a server refuses one
    before anything of it is said, both stand where they stood.

    Args:
        weights: the server's.
        store: where this side's prepared material is. It is used where both sides hold it.
        kept: a client's connection of an earlier session, which this one takes and goes on with.
        reach: connects a client to the server to which this one sends it on, if it does: before anything else
            is said, and once.

    Attributes:
        ran: the plan, or its length, of the last inference; None where there was none.
    """

    def __init__(
        self,
        role: Role,
        sock: socket.socket | Stream,
        plan: Plan,
        *,
        weights: Weights | None = None,
        store: Store | None = None,
        options: SessionOptions | None = None,
        kept: Connection | None = None,
        reach: Reach | None = None,
    ) -> None:
        self._options = options or SessionOptions()
        if self._options.memory < inf:
            heap.give_back_always()
        self._role = role
        self._reach = reach
        self._plan = plan
        self._weights = weights
        self._store = store
        self._talk_over(sock)
        if kept is None:
            own = resumed(NOTHING, check_ot=self._options.check_ot, workshop=self._options.workshop)
            kept = Connection(Party(role, self._channel, own))
        else:
            kept.go_on(self._channel)
        self._connection = kept
        self._programs = 0
        self.ran: Plan | None = None
        self._faulty = False

    def __repr__(self) -> str:
        return f"Session({self._connection!r}, plan {self._plan.hash[:12]})"

    def __enter__(self) -> Session:
        return self

    def __exit__(self, kind: type[BaseException] | None, fault: object, trace: TracebackType | None) -> None:
        self.close()

    def _talk_over(self, sock: socket.socket | Stream) -> None:
        timeout, shape = self._options.timeout, self._options.shape
        self._network = link(sock, shape)
        self._transport = TcpTransport(sock, timeout, shape)
        self._channel = Channel(self._transport, heed if self._role is CLIENT else deaf)

    def close(self) -> None:
        """Say what is left to say, and end."""
        self._channel.close()
        self._connection.rest()

    def go_on_with(self, kept: Kept) -> None:
        """At the server, where the first request shows its ticket: go on with a connection that was kept."""
        kept.into(self._connection)

    def release(self) -> Connection | None:
        """After the session, once: its connection, where another session may go on with it."""
        if self._faulty or not self._connection.ticket.ended:
            self._connection.end()
            return None
        return self._connection

    @property
    def ticket(self) -> Ticket:
        """By what its client may go on later."""
        return self._connection.ticket

    @property
    def begins(self) -> bool:
        """Whether no program has run in this session yet."""
        return not self._programs

    def turn_to(self, plan: Plan, weights: Weights | None, store: Store | None) -> None:
        """What the next programs are of."""
        self._plan, self._weights, self._store = plan, weights, store

    def hang_up(self) -> None:
        """End the connection under whoever waits for the peer; any thread may."""
        self._transport.hang_up()

    def infer(self, given: ClientInput | None = None, heard: Request | None = None) -> Outcome:
        """One inference; the client gives its input, the server may have heard the request.

        Raises PeerMismatch, NetworkFault, RangeFault.
        """
        plan, store = self._plan, self._store
        if given is not None:
            plan, store = given.plan, store and store.of(given.plan)
        terms = InferenceTerms(store, memory=self._options.memory)
        encoded = None if given is None else given.encoded
        with self._program() as progress:
            done = self._followed(
                lambda: self._connection.infer(
                    plan, terms, weights=self._weights, encoded=encoded, progress=progress, heard=heard
                )
            )
        self.ran = done.plan
        return self._outcome(done)

    def prepare(
        self,
        count: int,
        plan: Plan | None = None,
        heard: Request | None = None,
        purpose: Purpose = Purpose.PREPARE,
    ) -> Outcome:
        """The offline phases of ``count`` inferences, or as many as the peer wants, into the store; at the
        client for prompts of a shorter ``plan``'s length. The server may have heard the request.

        For the ``purpose`` `Purpose.AHEAD` PeerRefuses says that the server has no time or room for it.
        """
        if (store := self._store) is None:
            raise ValueError("preparing needs a store")
        held = store.named()
        terms = PreparationTerms(count, memory=self._options.memory, purpose=purpose, held=held)
        with self._program() as progress:
            done = self._followed(
                lambda: self._connection.prepare(
                    plan or self._plan,
                    terms,
                    store=store,
                    weights=self._weights,
                    progress=progress,
                    heard=heard,
                )
            )
        return self._outcome(done)

    def answer(self) -> Outcome | None:
        """At the server: the client's next inference; None where it has had one and asks for no more."""
        request = self.hear()
        return None if request is None else self.infer(heard=request)

    def hear(self) -> Request | None:
        """At the server: what the client asks for next; None where it has been served and asks for no more.

        A client that begins has `OPENING_SECONDS` to say it; later it may stay for ``idle`` seconds.
        """
        heard, options = self.heard, self._options
        self._channel.within(options.idle if heard else min(options.timeout, OPENING_SECONDS))
        try:
            request = hear(self._channel)
        except PeerLeft:
            if heard and self.heard == heard:
                return None
            raise
        self._channel.within(None)
        return request

    @property
    def connected(self) -> bool:
        """False once the peer has hung up."""
        return self._channel.connected

    @property
    def sound(self) -> bool:
        """Whether it can be asked for more, as far as this side knows."""
        return self.connected and not self._faulty

    @property
    def heard(self) -> int:
        """Messages that the peer has begun to say."""
        return self._channel.received

    def tell(self, notice: Notice) -> None:
        """At the server: something to a client that waits."""
        self._channel.notify(notice)

    def _followed(self, program: Callable[[], Done]) -> Done:
        """What it leaves; asked of the server to which the first one sends this client, where it does.

        Only of one that has said nothing else: nothing is claimed for it by then, and what the connection has
        set up stands where it stood. So it is where the second one is gone before it answers: PeerRefuses, as
        the first may send to another then. A second one that sends it on is refused: two that send a client
        to each other would keep it for ever.
        """
        try:
            return program()
        except SentOn as on:
            if self._reach is None or self.heard:
                raise
            reach, self._reach, first = self._reach, None, on.address
        log.info("the server sends this client on to %s", shown(first))
        self._channel.close()
        self._talk_over(reach(first))
        self._connection.go_on(self._channel)
        try:
            return program()
        except SentOn as on:
            where, further = shown(first), shown(on.address)
            raise PeerMismatch(
                f"the server sends this client on to {where}, which sends it on to {further}; "
                "who is sent somewhere has to be answered there"
            ) from None
        except PeerRefuses:
            raise
        except NetworkFault as fault:
            if self.heard:
                raise
            why = f"the server sends this client on to {shown(first)}, and {fault}"
            raise PeerRefuses(why, AGAIN_SECONDS) from None

    @contextmanager
    def _program(self) -> Iterator[Progress | None]:
        """Two sides that have lost step have nothing more to say to each other, so a fault is the end."""
        heard = self._channel.received
        try:
            with self._options.progress() if self._options.progress else nullcontext() as progress:
                yield progress
        except BaseException as fault:
            if not isinstance(fault, PeerRefuses) or self._channel.received > heard:
                self._faulty = True
                self.close()
            raise

    def _outcome(self, done: Done) -> Outcome:
        self._programs += 1
        role = self._connection.party.role
        assert role is not None
        return Outcome(role, done, self._network)
