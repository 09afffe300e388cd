"""A server in a thread of a process that does more: a notebook, or a program of one's own."""

from __future__ import annotations

import logging
import socket
import threading
from collections.abc import Generator
from types import TracebackType
from typing import Protocol

from ..base.errors import RuntimeFault
from ..net.address import Address, Listener, parsed, shown
from .report import Outcome

log = logging.getLogger(__name__)


class Answers(Protocol):
    """What answers a connected socket, `Server` for one."""

    def answer(self, connection: socket.socket) -> Generator[Outcome, None, None]: ...


class Background:
    """Listens from the beginning, and answers one client after the other until it is stopped.

    Attributes:
        address: host and port where it listens; port 0 has become a free one.
    """

    def __init__(self, server: Answers, address: Address) -> None:
        self._server = server
        self._listener = Listener(parsed(address))
        self.address = self._listener.getsockname()
        self._thread = threading.Thread(target=self._run, name="ppc-serve", daemon=True)
        self._thread.start()

    def __repr__(self) -> str:
        return f"Background({shown(self.address)})"

    def __enter__(self) -> Background:
        return self

    def __exit__(self, kind: type[BaseException] | None, fault: object, trace: TracebackType | None) -> None:
        self.stop()

    def stop(self) -> None:
        """Take no more clients, and wait for the end of what runs. A second time does nothing."""
        if self._thread.is_alive():
            self._listener.interrupt()
            self._thread.join()
        self._listener.close()

    def _run(self) -> None:
        while True:
            try:
                connection, peer = self._listener.accept()
            except InterruptedError:
                return
            try:
                for _ in self._server.answer(connection):
                    pass
            except RuntimeFault as fault:
                log.warning("inference for %s failed: %s", shown(peer), fault)
