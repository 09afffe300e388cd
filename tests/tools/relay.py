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


def withheld(relay: Relay, sink: socket.socket, data: bytes) -> None:
    """It does not arrive; the end of either side does."""


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
    """Forwards connections; of what one side sends over all of them ``limit`` bytes at most as they are."""

    def __init__(
        self, server: str, limit: int, sender: Literal["client", "server"] = "client", then: Then = withheld
    ) -> None:
        host, port = server.split(":")
        self._target = host, int(port)
        self._left = limit
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
            while True:
                client = self._listener.accept()[0]
                server = socket.create_connection(self._target)
                self._ends += [client, server]
                for way in ((client, server, "client"), (server, client, "server")):
                    threading.Thread(target=self._copy, args=way, daemon=True).start()

    def _copy(self, source: socket.socket, sink: socket.socket, sender: str) -> None:
        bounded = sender == self._sender
        with contextlib.suppress(OSError):
            while data := source.recv(1 << 14):
                if self.swallows:
                    continue
                whole = min(self._left, len(data)) if bounded else len(data)
                sink.sendall(data[:whole])
                if bounded:
                    self._left -= whole
                if whole < len(data):
                    self.reached.set()
                    self._then(self, sink, data[whole:])
        if not self.swallows:
            _end(source, sink)

    def close(self) -> None:
        """Both sides see the end, and no other connection is taken."""
        _end(self._listener, *self._ends)


def _end(*socks: socket.socket) -> None:
    for each in socks:
        with contextlib.suppress(OSError):
            each.shutdown(socket.SHUT_RDWR)
        each.close()


@contextmanager
def relay(
    server: str, limit: int, sender: Literal["client", "server"] = "client", then: Then = withheld
) -> Iterator[Relay]:
    made = Relay(server, limit, sender, then)
    try:
        yield made
    finally:
        made.close()
