"""The server's end: it answers inferences, and prepares them."""

from __future__ import annotations

import logging
import socket
from collections.abc import Callable, Generator, Iterator
from contextlib import closing
from pathlib import Path

from ..base.errors import RuntimeFault
from ..net.stream import Stream
from ..net.tcp import listen
from ..net.tls import ServerTls, TlsStream
from ..party.role import SERVER
from ..plan.file import Plan, Weights, check_promises, check_weights
from .options import ADDRESS, SessionOptions
from .report import Outcome, Report
from .session import Session
from .shelf import Shelf

log = logging.getLogger(__name__)


class Server:
    """Holds a plan and its weights; serves one client at a time, with as many inferences as it asks for.

    Args:
        store: where prepared material is; it is used where the client holds the other half.
        tls: certificate and key; without them whoever sits on the path can read and change what travels.

    Raises:
        BadPlan, RangeFault: weights that are not what the plan says, or beyond a bound that it announces.
    """

    def __init__(
        self,
        plan: Plan,
        weights: Weights,
        options: SessionOptions | None = None,
        *,
        store: Path | None = None,
        tls: ServerTls | None = None,
    ) -> None:
        check_weights(weights, plan)
        check_promises(weights, plan)
        self.plan = plan
        self._weights = weights
        self._options = options or SessionOptions()
        self._shelf = Shelf(store, plan, weights, check_ot=self._options.check_ot)
        self._context = tls.context() if tls else None

    def __repr__(self) -> str:
        return f"Server(plan {self.plan.hash[:12]}, <weights>)"

    def serve(
        self,
        address: tuple[str, int] = ADDRESS,
        *,
        once: bool = False,
        done: Callable[[Report], None] = lambda report: None,
    ) -> None:
        """Listen and answer. A fault ends its connection with a line in the log; with ``once`` it is raised.

        Args:
            address: where to listen; port 0 takes any free one, which the log tells.
            once: return after the first inference; of a plan that generates, after the first client's.
            done: called with the report of each inference.
        """
        self._shelf.there()  # what it takes to open a store, no client should wait for
        with listen(address) as listener:
            host, port = listener.getsockname()[:2]
            log.info("serving plan %s on %s:%d", self.plan.hash[:12], host, port)
            while True:
                connection, peer = listener.accept()
                try:
                    with closing(self.answer(connection)) as outcomes:
                        if self.plan.states.added:
                            self._generate(outcomes, done)
                            if once:
                                return
                            continue
                        for outcome in outcomes:
                            done(outcome.report)
                            if once:
                                return
                except RuntimeFault as fault:
                    if once:
                        raise
                    log.warning("inference for %s failed: %s", peer[0], fault)

    def _generate(self, outcomes: Iterator[Outcome], done: Callable[[Report], None]) -> None:
        """All tokens of one client, then their reports: reckoning one would keep the next token waiting."""
        told: list[Outcome] = []
        try:
            told.extend(outcomes)
        finally:
            for outcome in told:
                done(outcome.report)

    def answer(self, connection: socket.socket) -> Generator[Outcome, None, None]:
        """The inferences that a client asks for over a connected socket, which is closed at the end."""
        session = Session(
            SERVER,
            self._stream(connection),
            self.plan,
            weights=self._weights,
            store=self._shelf.there(),
            options=self._options,
        )
        with session:
            while (outcome := session.answer()) is not None:
                yield outcome

    def prepare(self, count: int, address: tuple[str, int] = ADDRESS) -> Outcome:
        """Wait for one client and prepare up to ``count`` inferences with it, as it asks."""
        store = self._shelf.made()
        with listen(address) as listener:
            host, port = listener.getsockname()[:2]
            log.info("preparing plan %s on %s:%d", self.plan.hash[:12], host, port)
            connection = self._stream(listener.accept()[0])
        session = Session(
            SERVER, connection, self.plan, weights=self._weights, store=store, options=self._options
        )
        with session:
            return session.prepare(count)

    def _stream(self, connection: socket.socket) -> socket.socket | Stream:
        if self._context is None:
            return connection
        return TlsStream(connection, self._context, timeout=self._options.timeout)
