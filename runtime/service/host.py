"""Many connections at once: each has a thread, none keeps another from being accepted.

The threads share the weights; the kernels release the interpreter while they compute. A connection costs a
thread and its buffers until its client has said what it wants, for which it has seconds, and then waits for
its turn at the gate: a stranger who says nothing, trickles or talks garbage never gets that far.
"""

from __future__ import annotations

import logging
import select
import socket
import ssl
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from math import inf

from ..base import heap
from ..base.errors import NetworkFault, RuntimeFault
from ..net.address import Listener, shown
from ..net.frame import Notice, Told
from ..net.stream import Stream
from ..net.tls import TlsStream
from ..party.role import SERVER
from ..session.handshake import Purpose, Request, Ticket
from ..session.kept import Kept
from .gate import Gate, Limits, TurnedAway
from .offer import Offer
from .options import SessionOptions
from .parking import InMemory, Parking
from .report import Outcome
from .session import Session

log = logging.getLogger(__name__)

PARTING_SECONDS = 2.0
"""How long a connection that is turned away at the door stays half open, so that what it is told arrives."""
MOST_PARTING = 64

DRAIN_SECONDS = 600.0
"""How long programs that run when the server stops may go on."""


@dataclass(eq=False)
class Guest:
    """One connection: where it comes from, and who it is where an authority vouches for that.

    ``asked`` is set once it has said something that makes sense.
    """

    address: str
    name: str | None = None
    session: Session | None = None
    asked: bool = False
    idle: bool = field(default=False, repr=False)

    @property
    def client(self) -> str:
        """To whom turns and shares belong."""
        return self.name or self.address


@dataclass(frozen=True, kw_only=True, repr=False)
class Duties:
    """What a host does for clients, and whom it tells of it; it is told from one thread at a time.

    Attributes:
        purposes: what clients may ask for.
        preparations: how many inferences one request prepares at most.
        kept: how many prepared inferences lie ready for a client at most.
        elsewhere: where another server answers this, where one does; may raise TurnedAway. Many threads ask
            at a time.
        admit: told who has a turn and for what, before anything is said; may raise TurnedAway.
        done: of every program that ended well, and for whom.
        failed: of every connection that ended otherwise.
        left: of every client whose connection is over.
    """

    purposes: tuple[Purpose, ...] = (Purpose.RUN, Purpose.PREPARE)
    preparations: int = 1
    kept: float = inf
    elsewhere: Callable[[Guest, Request], str | None] = lambda guest, request: None
    admit: Callable[[Guest, Purpose], None] = lambda guest, purpose: None
    done: Callable[[Guest, Outcome], None] = lambda guest, outcome: None
    failed: Callable[[Guest, RuntimeFault], None] = lambda guest, fault: None
    left: Callable[[Guest], None] = lambda guest: None


class Host:
    """Answers clients for ``offers``, of which there is at least one, until it is stopped.

    ``parking`` is where connections are kept whose clients have left; in memory unless another is given.
    """

    def __init__(
        self,
        offers: Sequence[Offer],
        options: SessionOptions,
        limits: Limits,
        duties: Duties,
        context: ssl.SSLContext | None = None,
        parking: Parking | None = None,
    ) -> None:
        self.gate = Gate(limits)
        self._offers = tuple(offers)
        self._options = options
        self._limits = limits
        self._duties = duties
        self._context = context
        self._guests: set[Guest] = set()
        self._changed = threading.Condition()
        self._telling = threading.Lock()
        if parking is None:  # an empty one is false
            parking = InMemory(limits.kept, limits.kept_seconds)
        self._parking = parking
        self._parting: deque[tuple[float, socket.socket]] = deque()
        self._stops = 0
        self._bell, self._rope = socket.socketpair()
        for end in (self._bell, self._rope):
            end.setblocking(False)

    def __repr__(self) -> str:
        return f"Host({len(self._guests)} connections, {self.gate})"

    @property
    def connections(self) -> int:
        return len(self._guests)

    @property
    def kept(self) -> int:
        """Connections without a channel, which their clients may go on with."""
        return len(self._parking)

    def holds(self, ticket: Ticket) -> bool:
        """Whether the connection of this ticket is here, kept or with a channel still."""
        with self._changed:
            return self._parking.holds(ticket) or bool(self._open_with(ticket))

    @property
    def ready(self) -> bool:
        """Whether a client that comes now is heard."""
        return not self._stops and self.connections < self._limits.connections

    def listen(self, address: tuple[str, int]) -> Listener:
        """For `answer`, after all that no client should wait for. NetworkFault where it cannot."""
        for offer in self._offers:
            offer.warm()
        return Listener(address)

    def run(self, address: tuple[str, int], doing: str = "serving") -> None:
        """Listen and answer until stopped, then until what runs has ended. NetworkFault where it cannot."""
        self.answer(self.listen(address), doing)

    def answer(self, listener: Listener, doing: str = "serving") -> None:
        """Who comes to ``listener``, which is closed when stopped; returns when what runs has ended."""
        with listener:
            plans = ", ".join(each.plan.hash[:12] for each in self._offers)
            where = shown(listener.getsockname())
            log.info("%s plan%s %s on %s", doing, "s"[: len(self._offers) > 1], plans, where)
            while not self._stops:
                self._part()
                self._accept(listener)
        self._drain()
        self._part(0.0)
        for end in (self._bell, self._rope):
            end.close()

    def stop(self) -> None:
        """Take no more clients and end what runs; a second time: at once. Any thread may, and a signal."""
        self._stops += 1
        with suppress(OSError):
            self._rope.send(b"!")

    def change(self, offers: Sequence[Offer], context: ssl.SSLContext | None) -> None:
        """What holds for connections that come from now on."""
        self._offers, self._context = tuple(offers), context

    def attend(self, sock: socket.socket, guest: Guest) -> None:
        """One connection from beginning to end; it is closed then."""
        offers, session = self._offers, None
        try:
            stream = accepted(sock, self._context, self._options)
            guest.name = stream.peer if isinstance(stream, TlsStream) else None
            session = Session(SERVER, stream, offers[0].plan, options=self._options)
            with session:
                guest.session = session
                self._converse(guest, session, offers)
        except RuntimeFault as fault:
            with self._telling:
                self._duties.failed(guest, fault)
        except Exception:  # a fault of ours is no reason to serve nobody else
            log.exception("the connection of %s ended by a fault of this program", guest.client)
        finally:
            if session is not None and (over := session.release()) is not None:
                self._parking.put(Kept.of(over), guest.name)
            heap.give_back()
            with self._telling:
                self._duties.left(guest)
            with self._changed:
                self._guests.discard(guest)
                self._changed.notify_all()

    def _converse(self, guest: Guest, session: Session, offers: Sequence[Offer]) -> None:
        while (request := self._heard(guest, session)) is not None:
            if self._sent_on(guest, session, offers, request):
                return
            outcome = self._answer(guest, session, offers, request)
            if outcome is not None:
                with self._telling:
                    self._duties.done(guest, outcome)

    def _heard(self, guest: Guest, session: Session) -> Request | None:
        with self._changed:
            if self._stops and guest.asked:
                return None
            guest.idle = True
        request = session.hear()
        guest.idle = False
        guest.asked = guest.asked or request is None or request.ours
        return request

    def _sent_on(self, guest: Guest, session: Session, offers: Sequence[Offer], request: Request) -> bool:
        """Whether another server answers what could be answered here; its client is told so."""
        if self._of(request, offers) is None or request.purpose not in self._duties.purposes:
            return False
        try:
            where = self._duties.elsewhere(guest, request)
        except TurnedAway as fault:
            session.tell(fault.notice)
            raise
        if where is None:
            return False
        session.tell(Notice.elsewhere(where))
        return True

    @staticmethod
    def _of(request: Request, offers: Sequence[Offer]) -> Offer | None:
        """What the client holds the plan of."""
        return next((each for each in offers if each.plan.of_hash(request.plan)), None)

    def _answer(
        self, guest: Guest, session: Session, offers: Sequence[Offer], request: Request
    ) -> Outcome | None:
        """None where nothing is made ahead now: its client may stay and ask for something else."""
        asked, may = request.purpose, self._duties.purposes
        offer = self._of(request, offers)
        if offer is None or asked not in may:  # both sides hear what is wrong, without waiting
            return self._work_on(guest, session, offer or offers[0], may[0], request)
        if session.begins:
            log.info("%s connected, for plan %s", guest.client, offer.plan.hash[:12])
        memory, ahead = offer.memory(request, self._options.memory), asked == Purpose.AHEAD
        turn = self.gate.turn(
            guest.client, memory, tell=session.tell, there=lambda: session.connected, idle=ahead
        )
        try:
            with turn:
                self._duties.admit(guest, Purpose(asked))
                return self._work_on(guest, session, offer, Purpose(asked), request)
        except TurnedAway as fault:
            session.tell(fault.notice)
            if ahead and fault.notice.told in (Told.BUSY, Told.FULL):
                return None
            raise

    def _work_on(
        self, guest: Guest, session: Session, offer: Offer, purpose: Purpose, request: Request
    ) -> Outcome:
        shelf = offer.shelf_of(guest.name)
        runs = purpose is Purpose.RUN
        if guest.name is not None and request.held is not None:  # clients without a name share what lies here
            shelf.make_room(self._duties.kept - 1, request.held)
        room = min(self._duties.preparations, self._duties.kept - shelf.level)
        if not runs and room < 1:  # before what was kept is taken, which the client may come again with
            raise TurnedAway(f"full: {shelf.level} are prepared", Notice(Told.FULL, shelf.level))
        if session.begins and request.ticket.ended and (kept := self._kept(guest, request)) is not None:
            session.go_on_with(kept)
        session.turn_to(offer.plan, offer.weights, shelf.there() if runs else shelf.made())
        return (
            session.infer(heard=request)
            if runs
            else session.prepare(int(room), heard=request, purpose=purpose)
        )

    def _kept(self, guest: Guest, request: Request) -> Kept | None:
        """What the client goes on with. Its last channel may still be open here, or just be closing."""
        ticket = request.ticket
        with self._changed:
            for each in self._open_with(ticket):
                if each.idle and each.session is not None:
                    each.session.hang_up()
            self._changed.wait_for(lambda: not self._open_with(ticket), PARTING_SECONDS)
        return self._parking.take(ticket, guest.name)

    def _open_with(self, ticket: Ticket) -> list[Guest]:
        return [each for each in self._guests if each.session and each.session.ticket.id == ticket.id]

    def _accept(self, listener: Listener) -> None:
        """Wait for what comes next, and let it in or turn it away."""
        poll = select.poll()
        for each in (listener, self._bell):
            poll.register(each, select.POLLIN)
        poll.poll(PARTING_SECONDS * 1000 if self._parting else None)
        try:
            found = listener.take()
        except OSError as error:  # out of descriptors, or the client has left already
            log.warning("a connection could not be accepted: %s", error)
            time.sleep(0.1)
            return
        if found is None:
            return
        sock, (host, _) = found
        guest = Guest(host)
        why = self._let_in(sock, guest)
        if why is None:
            return
        fault = TurnedAway(why, Notice(Told.BUSY, self.gate.seconds))
        self._turn_away(sock, fault.notice)
        with self._telling:
            self._duties.failed(guest, fault)

    def _let_in(self, sock: socket.socket, guest: Guest) -> str | None:
        """A thread for one more connection, or why there is no place for it."""
        with self._changed:
            own = sum(each.address == guest.address for each in self._guests)
            if own >= self._limits.share:
                return f"share: this client has {own} connections"
            if len(self._guests) >= self._limits.connections:
                return f"connections: {len(self._guests)} are open"
            self._guests.add(guest)
        try:
            threading.Thread(target=self.attend, args=(sock, guest), name="ppc-client", daemon=True).start()
        except RuntimeError as error:  # the system has no more threads to give
            with self._changed:
                self._guests.discard(guest)
            return f"threads: {error}"
        return None

    def _turn_away(self, sock: socket.socket, notice: Notice) -> None:
        """Say so where that needs no handshake; the client reads it before it finds the connection closed."""
        with suppress(OSError):
            sock.setblocking(False)
            if self._context is None:
                sock.send(notice.pack())
            sock.shutdown(socket.SHUT_WR)
        self._parting.append((time.monotonic(), sock))

    def _part(self, seconds: float = PARTING_SECONDS) -> None:
        """Close what was turned away so long ago."""
        before, parting = time.monotonic() - seconds, self._parting
        while parting and (len(parting) > MOST_PARTING or parting[0][0] <= before):
            parting.popleft()[1].close()

    def _drain(self) -> None:
        """Who has asked for nothing goes at once, who waits is told, what runs may end."""
        self.gate.close()
        until = time.monotonic() + DRAIN_SECONDS
        with self._changed:
            self._hang_up(lambda guest: guest.idle)
            while self._guests and self._stops == 1 and time.monotonic() < until:
                self._changed.wait(0.2)
            self._hang_up(lambda guest: True)
            self._changed.wait_for(lambda: not self._guests, timeout=PARTING_SECONDS)

    def _hang_up(self, which: Callable[[Guest], bool]) -> None:
        for guest in self._guests:
            if which(guest) and guest.session is not None:
                guest.session.hang_up()


def accepted(
    sock: socket.socket, context: ssl.SSLContext | None, options: SessionOptions
) -> socket.socket | Stream:
    """The connection as it is talked over. NetworkFault where its TLS handshake fails."""
    return sock if context is None else TlsStream(sock, context, timeout=options.timeout)


def kind_of(fault: RuntimeFault) -> str:
    """A word for counters, without anything of the peer's."""
    if isinstance(fault, TurnedAway):
        return str(fault).partition(":")[0]
    return "network" if isinstance(fault, NetworkFault) else type(fault).__name__
