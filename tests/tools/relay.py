"""A wire that fails: passes bytes on between a client and a server up to a limit, and then does otherwise."""

from __future__ import annotations

import contextlib
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Literal

PAUSE = 0.2

Then = Callable[["Relay", socket.socket, bytes], None]
"""What becomes of a piece beyond the limit, on its way to that socket."""


def dead(relay: Relay, sink: socket.socket, data: bytes) -> None:
    """Nothing arrives any more, whoever sends it, and nobody hears of it."""
    relay.swallows = True


def hung_up(relay: Relay, sink: socket.socket, data: bytes) -> None:
    relay.close()


def garbled(relay: Relay, sink: socket.socket, data: bytes) -> None:
    sink.sendall(os.urandom(len(data)))


def trickling(relay: Relay, sink: socket.socket, data: bytes) -> None:
    """A byte now and then."""
    for at in range(len(data)):
        sink.sendall(data[at : at + 1])
        time.sleep(PAUSE)


class Relay:
    """Forwards one connection; of what one side sends no more than ``limit`` bytes as they are."""

    def __init__(
        self, server: str, limit: int, sender: Literal["client", "server"] = "client", then: Then = dead
    ) -> None:
        host, port = server.split(":")
        self._target = host, int(port)
        self._limit = limit
        self._sender = sender
        self._then = then
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._ends: list[socket.socket] = []
        self.swallows = False
        self.reached = threading.Event()
        threading.Thread(target=self._accept, daemon=True).start()

    @property
    def address(self) -> str:
        host, port = self._listener.getsockname()[:2]
        return f"{host}:{port}"

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            client = self._listener.accept()[0]
            server = socket.create_connection(self._target)
            self._ends += [client, server]
            back = threading.Thread(target=self._copy, args=(server, client, "server"), daemon=True)
            back.start()
            self._copy(client, server, "client")

    def _copy(self, source: socket.socket, sink: socket.socket, sender: str) -> None:
        left = self._limit if sender == self._sender else None
        with contextlib.suppress(OSError):
            while data := source.recv(1 << 14):
                if self.swallows:
                    continue
                whole = len(data) if left is None else min(left, len(data))
                sink.sendall(data[:whole])
                if left is not None and whole < len(data):
                    self.reached.set()
                    self._then(self, sink, data[whole:])
                if left is not None:
                    left -= whole
        if not self.swallows:
            self.close()

    def close(self) -> None:
        """Both sides see the end."""
        for each in (self._listener, *self._ends):
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
            each.close()


@contextmanager
def relay(
    server: str, limit: int, sender: Literal["client", "server"] = "client", then: Then = dead
) -> Iterator[Relay]:
    made = Relay(server, limit, sender, then)
    try:
        yield made
    finally:
        made.close()
