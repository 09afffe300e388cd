"""The server's end: it answers inferences."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from ..base.errors import RuntimeFault
from ..net.network import Network
from ..net.tcp import Stream, listen
from ..net.tls import ServerTls, TlsStream
from ..plan.file import Plan, Weights
from ..session.executor import Progress
from ..session.material import Say
from ..session.program import Outcome, prepare, serve_one
from .shelf import Shelf

Array = NDArray[Any]


class Server:
    """Holds a plan and its weights; answers one inference a connection, one at a time.

    Args:
        timeout: seconds of silence after which a client is given up.
        store: where prepared material is; it is used where the client holds the other half.
        tls: certificate and key; without them whoever sits on the path can read and change what travels.
        shape: a slower network to stand for.
    """

    def __init__(
        self,
        plan: Plan,
        weights: Weights,
        timeout: float = 600.0,
        *,
        store: Path | None = None,
        tls: ServerTls | None = None,
        shape: Network | None = None,
    ) -> None:
        self.plan = plan
        self._weights = weights
        self._timeout = timeout
        self._store = Shelf(store, plan, weights)
        self._context = tls.context() if tls else None
        self._shape = shape

    def __repr__(self) -> str:
        return f"Server(plan {self.plan.hash[:12]}, <weights>)"

    def serve(
        self,
        address: tuple[str, int] = ("127.0.0.1", 7766),
        *,
        once: bool = False,
        say: Say = lambda line: None,
        done: Callable[[dict[str, Any]], None] = lambda report: None,
        progress: Callable[[], AbstractContextManager[Progress]] | None = None,
    ) -> None:
        """Listen and answer. A fault ends its connection with one line; with ``once`` it is raised.

        Args:
            address: where to listen; port 0 takes any free one, which ``say`` tells.
            done: called with the report of each inference.
        """
        self._store.there(say)  # what it takes to open a store, no client should wait for
        with listen(address) as listener:
            host, port = listener.getsockname()[:2]
            say(f"serving plan {self.plan.hash[:12]} on {host}:{port}")
            while True:
                connection, peer = listener.accept()
                try:
                    with progress() if progress else contextlib.nullcontext() as bar:
                        outcome = self.answer(connection, bar, say)
                except RuntimeFault as fault:
                    if once:
                        raise
                    say(f"inference for {peer[0]} failed: {fault}")
                else:
                    done(outcome.report)
                if once:
                    return

    def answer(
        self, connection: socket.socket, progress: Progress | None = None, say: Say = lambda line: None
    ) -> Outcome:
        """One inference over a connected socket, which is closed at the end."""
        return serve_one(
            self._stream(connection),
            self.plan,
            self._weights,
            store=self._store.there(say),
            progress=progress,
            timeout=self._timeout,
            shape=self._shape,
            say=say,
        )

    def prepare(
        self,
        count: int,
        address: tuple[str, int] = ("127.0.0.1", 7766),
        *,
        say: Say = lambda line: None,
        progress: Progress | None = None,
    ) -> Outcome:
        """Wait for one client and prepare up to ``count`` inferences with it, as it asks."""
        store = self._store.made(say)
        with listen(address) as listener:
            host, port = listener.getsockname()[:2]
            say(f"preparing plan {self.plan.hash[:12]} on {host}:{port}")
            connection = self._stream(listener.accept()[0])
        return prepare(
            connection,
            self.plan,
            store,
            count,
            self._weights,
            progress=progress,
            timeout=self._timeout,
            shape=self._shape,
            say=say,
        )

    def _stream(self, connection: socket.socket) -> Stream:
        return TlsStream(connection, self._context) if self._context else connection
