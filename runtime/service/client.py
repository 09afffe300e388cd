"""The client's end: it asks for inferences, and prepares them."""

from __future__ import annotations

import socket
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from numpy.typing import ArrayLike

from ..net.stream import Stream
from ..net.tcp import connect
from ..net.tls import ClientTls, TlsStream
from ..party.role import CLIENT
from ..plan.file import Plan
from ..session.inputs import ClientInput
from ..session.material import Store
from .options import ADDRESS, SessionOptions
from .report import Outcome
from .session import Session
from .shelf import Shelf

PATIENCE = 30.0


class Client:
    """Holds a plan; sends nothing before its inputs are checked.

    Args:
        patience: seconds to wait for a server that does not listen yet.
        store: as for `Server`.
        tls: whom to trust; the server must then use TLS and hold a certificate for the name it is called by.
    """

    def __init__(
        self,
        plan: Plan,
        options: SessionOptions | None = None,
        *,
        patience: float = PATIENCE,
        store: Path | None = None,
        tls: ClientTls | None = None,
    ) -> None:
        self.plan = plan
        self._options = options or SessionOptions()
        self._patience = patience
        self._shelf = Shelf(store, plan, None)
        self._context = tls.context() if tls else None

    def __repr__(self) -> str:
        return f"Client(plan {self.plan.hash[:12]})"

    def run(self, feeds: Mapping[str, ArrayLike], address: tuple[str, int] = ADDRESS) -> Outcome:
        """One inference, at the shortest length that holds ``feeds``: outputs by name, and the report.

        Raises:
            BadInput: an input of the wrong name, shape, type or range, before anything is sent.
            PeerMismatch, NetworkFault: as the handshake or the connection has it.
        """
        given = ClientInput.of(self.plan, feeds)
        with self._session(address, self._shelf.there()) as session:
            return session.infer(given)

    def run_all(
        self, samples: Iterable[Mapping[str, ArrayLike]], address: tuple[str, int] = ADDRESS
    ) -> Iterator[Outcome]:
        """Inferences over one connection, so that all but the first pay no setup; otherwise as `run`."""
        session: Session | None = None
        try:
            for feeds in samples:
                given = ClientInput.of(self.plan, feeds)
                session = session or self._session(address, self._shelf.there())
                yield session.infer(given)
        finally:
            if session is not None:
                session.close()

    def prepare(self, count: int, address: tuple[str, int] = ADDRESS) -> Outcome:
        """Setup and ``count`` offline phases, or as many as the server agrees to."""
        with self._session(address, self._shelf.made()) as session:
            return session.prepare(count)

    def _session(self, address: tuple[str, int], store: Store | None) -> Session:
        return Session(CLIENT, self._connect(address), self.plan, store=store, options=self._options)

    def _connect(self, address: tuple[str, int]) -> socket.socket | Stream:
        connection = connect(address, self._patience)
        if self._context is None:
            return connection
        return TlsStream(connection, self._context, address[0], self._options.timeout)
