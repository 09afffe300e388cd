"""The client's end: it asks for one inference, or prepares several."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..net.network import Network
from ..net.tcp import Stream, connect
from ..net.tls import ClientTls, TlsStream
from ..plan.file import Plan
from ..session.executor import Progress
from ..session.inputs import check_inputs, fit
from ..session.material import Say
from ..session.program import Outcome, infer, prepare
from .shelf import Shelf

Array = NDArray[Any]


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
        self._store = Shelf(store, plan, None)
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
