"""The two ends as objects: a server that answers inferences, a client that asks for one."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .buckets import fit
from .channel import Stream, connect, listen
from .errors import RuntimeFault
from .executor import Progress, check_inputs
from .material import Say, Store
from .plan import Plan, Weights
from .rates import Network
from .session import Outcome, infer, open_store, prepare, serve_one
from .tls import ClientTls, ServerTls, TlsStream

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
        self._store = _Shelf(store, plan, weights)
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


class Client:
    """Holds a plan; sends nothing before its inputs are checked.

    Args:
        timeout: seconds of silence after which the server is given up.
        patience: seconds to wait for a server that does not listen yet.
        store, shape: as for `Server`.
        tls: whom to trust; the server must then use TLS and hold a certificate for the name it is called by.
    """

    def __init__(
        self,
        plan: Plan,
        timeout: float = 600.0,
        patience: float = 30.0,
        *,
        store: Path | None = None,
        tls: ClientTls | None = None,
        shape: Network | None = None,
    ) -> None:
        self.plan = plan
        self._timeout = timeout
        self._patience = patience
        self._store = _Shelf(store, plan, None)
        self._context = tls.context() if tls else None
        self._shape = shape

    def run(
        self,
        feeds: Mapping[str, Array],
        address: tuple[str, int] = ("127.0.0.1", 7766),
        progress: Progress | None = None,
        say: Say = lambda line: None,
    ) -> Outcome:
        """One inference, at the shortest length that holds ``feeds``: outputs by name, and the report.

        Raises:
            BadInput: an input of the wrong name, shape, type or range, before anything is sent.
            PeerMismatch, NetworkFault: as the handshake or the connection has it.
        """
        plan, fitted = fit(self.plan, {name: np.asarray(value) for name, value in feeds.items()})
        checked = check_inputs(plan, fitted)
        store = self._store.there(say) if plan is self.plan else None
        return infer(
            self._connect(address),
            plan,
            checked,
            store=store,
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
        """Setup and ``count`` offline phases, or as many as the server agrees to."""
        store = self._store.made(say)
        return prepare(
            self._connect(address),
            self.plan,
            store,
            count,
            progress=progress,
            timeout=self._timeout,
            shape=self._shape,
            say=say,
        )

    def _connect(self, address: tuple[str, int]) -> Stream:
        connection = connect(address, self._patience)
        return TlsStream(connection, self._context, address[0]) if self._context else connection


class _Shelf:
    """Where material may be: opened when there is something, or when something is to be put there."""

    def __init__(self, path: Path | None, plan: Plan, weights: Weights | None) -> None:
        self._path = path
        self._plan = plan
        self._weights = weights
        self._store: Store | None = None

    def there(self, say: Say) -> Store | None:
        if self._store is None and self._path is not None and self._path.is_dir():
            self._store = open_store(self._path, self._plan, self._weights, say)
        return self._store

    def made(self, say: Say) -> Store:
        if self._path is None:
            raise ValueError("preparing needs a store")
        self._store = self._store or open_store(self._path, self._plan, self._weights, say)
        self._store.create()
        return self._store
