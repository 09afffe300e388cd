"""A client's lines to servers: opened when something is asked for, kept, and tried again where that is safe.

For `patience` seconds it is tried again to connect, where nobody listens yet, and to be served, where a
server refuses and says when to come again. A line that lay idle and is not answered at all is opened
anew: the server may have hung up long before. In each case it has picked no material yet
(`session.handshake`), so none is claimed here, and nothing that depends on an input has left.

From then on a fault is the caller's to see. It ends the connection at both sides, with the material that was
claimed: who asks again does so with fresh material, which is safe, and never happens unasked.
"""

from __future__ import annotations

import logging
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from types import TracebackType

from ..base.errors import NetworkFault, PeerRefuses
from ..net.address import shown
from ..net.stream import Stream
from ..net.tcp import connect
from ..net.tls import TlsStream
from ..party.role import CLIENT
from ..plan.file import Plan
from ..session.connection import Connection
from ..session.material import Store
from .options import SessionOptions
from .report import Outcome
from .session import AGAIN_SECONDS, Session

log = logging.getLogger(__name__)

Where = tuple[str, int]


class Lines:
    """Those of one client. While this is entered a session that has ended its task stays open for the next.

    Arguments as of `Client`.
    """

    def __init__(
        self,
        plan: Plan,
        options: SessionOptions,
        *,
        patience: float,
        context: ssl.SSLContext | None,
        go_on: bool,
    ) -> None:
        self.patience = patience
        self._plan, self._options, self._context, self._go_on = plan, options, context, go_on
        self.kept: dict[Where, Connection] = {}
        """Without a channel: by what a next session goes on."""
        self._idle: dict[Where, list[Session]] = {}
        self._entered = 0
        self._lock = threading.Lock()  # calls beside an event loop come from many threads

    def __enter__(self) -> None:
        with self._lock:
            self._entered += 1

    def __exit__(self, kind: type[BaseException] | None, fault: object, trace: TracebackType | None) -> None:
        with self._lock:
            self._entered -= 1
            idle, self._idle = ({}, self._idle) if self._entered else (self._idle, {})
        for where, sessions in idle.items():
            for session in sessions:
                self._end(where, session)

    def open(self, where: Where, store: Store | None, until: float) -> Session:
        """One that is idle, or another, which goes on with what is kept."""
        while (session := self._next(where)) is not None:
            if session.connected:
                session.turn_to(self._plan, None, store)
                return session
            self._end(where, session)
        stream = self._stream(where[0], connect(where, until - time.monotonic()))
        kept, reach = self.kept.pop(where, None), partial(self._reach, where)
        return Session(CLIENT, stream, self._plan, store=store, options=self._options, kept=kept, reach=reach)

    def _reach(self, front: Where, where: Where) -> socket.socket | Stream:
        """The server to which the one at ``front`` sends us, and whose certificate must be for the same name.

        PeerRefuses where nobody answers there: who has sent us may know of another by then.
        """
        try:
            sock = connect(where, 0)
        except NetworkFault as fault:
            raise PeerRefuses(f"{shown(front)} sends this client on, and {fault}", AGAIN_SECONDS) from None
        return self._stream(front[0], sock)

    def _stream(self, name: str, sock: socket.socket) -> socket.socket | Stream:
        """What is said goes over TLS where an authority is given; ``name`` is then the certificate's."""
        return sock if self._context is None else TlsStream(sock, self._context, name, self._options.timeout)

    @contextmanager
    def alone(self, where: Where, store: Store | None) -> Iterator[Session]:
        """A session for a task of which nothing is tried again."""
        session = self.open(where, store, time.monotonic() + self.patience)
        try:
            yield session
        finally:
            self.give_back(where, session)

    def give_back(self, where: Where, session: Session) -> None:
        """After its task, or a fault."""
        with self._lock:
            if stays := bool(self._entered and session.sound):
                self._idle.setdefault(where, []).append(session)
        if not stays:
            self._end(where, session)

    def _next(self, where: Where) -> Session | None:
        with self._lock:
            return idle.pop() if (idle := self._idle.get(where)) else None

    def _end(self, where: Where, session: Session) -> None:
        session.close()
        if (kept := session.release()) is not None and self._go_on:
            self.kept[where] = kept


class Line:
    """A session that nobody else uses, from the first thing that is asked for until this is closed.

    ``carries``: what is asked for goes on with what was asked for before.
    """

    def __init__(self, lines: Lines, where: Where, store: Store | None, *, carries: bool = False) -> None:
        self._lines = lines
        self._where = where
        self._store = store
        self._carries = carries
        self._session: Session | None = None
        self.ran: Plan | None = None
        """The length of the last inference, where there was one."""

    def __enter__(self) -> Line:
        return self

    def __exit__(self, kind: type[BaseException] | None, fault: object, trace: TracebackType | None) -> None:
        self._leave()

    def ask(self, what: Callable[[Session], Outcome]) -> Outcome:
        """What ``what`` brings from a session, tried again where that is safe (see above)."""
        until = time.monotonic() + self._lines.patience
        while True:
            first = self._session is None
            session = self._session = self._session or self._lines.open(self._where, self._store, until)
            idle, heard = first and not session.begins, session.heard
            try:
                outcome = what(session)
                self.ran = session.ran
                return outcome
            except PeerRefuses as fault:
                if (self._carries and not first) or time.monotonic() + fault.again > until:
                    raise
                log.info("%s", fault)
                self._leave()
                time.sleep(fault.again)
            except NetworkFault:
                if not idle or session.heard > heard:
                    raise
                self._leave()

    def _leave(self) -> None:
        session, self._session = self._session, None
        if session is not None:
            self._lines.give_back(self._where, session)
