"""The two ends as objects: a server that answers inferences, a client that asks for one."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .channel import connect, listen
from .errors import RuntimeFault
from .executor import Progress, check_inputs
from .plan import Plan, Weights
from .session import Outcome, infer, serve_one

Array = NDArray[Any]
Say = Callable[[str], None]


class Server:
    """Holds a plan and its weights; answers one inference a connection, one at a time."""

    def __init__(self, plan: Plan, weights: Weights, timeout: float = 600.0) -> None:
        self.plan = plan
        self._weights = weights
        self._timeout = timeout

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
        with listen(address) as listener:
            host, port = listener.getsockname()[:2]
            say(f"serving plan {self.plan.hash[:12]} on {host}:{port}")
            while True:
                connection, peer = listener.accept()
                try:
                    with progress() if progress else contextlib.nullcontext() as bar:
                        outcome = self.answer(connection, bar)
                except RuntimeFault as fault:
                    if once:
                        raise
                    say(f"inference for {peer[0]} failed: {fault}")
                else:
                    done(outcome.report)
                if once:
                    return

    def answer(self, connection: socket.socket, progress: Progress | None = None) -> Outcome:
        """One inference over a connected socket, which is closed at the end."""
        return serve_one(connection, self.plan, self._weights, progress=progress, timeout=self._timeout)


class Client:
    """Holds a plan; sends nothing before its inputs are checked."""

    def __init__(self, plan: Plan, timeout: float = 600.0, patience: float = 30.0) -> None:
        self.plan = plan
        self._timeout = timeout
        self._patience = patience

    def run(
        self,
        feeds: Mapping[str, Array],
        address: tuple[str, int] = ("127.0.0.1", 7766),
        progress: Progress | None = None,
    ) -> Outcome:
        """One inference: outputs by name, and the report.

        Raises:
            BadInput: an input of the wrong name, shape, type or range, before anything is sent.
            PeerMismatch, NetworkFault: as the handshake or the connection has it.
        """
        checked = check_inputs(self.plan, {name: np.asarray(value) for name, value in feeds.items()})
        connection = connect(address, self._patience)
        return infer(connection, self.plan, checked, progress=progress, timeout=self._timeout)
