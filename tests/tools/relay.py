"""A wire with a cut: passes bytes on between a client and a server, up to a limit."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager


class Relay:
    """Forwards one connection; of what the client sends no more than ``limit`` bytes."""

    def __init__(self, server: str, limit: int) -> None:
        host, port = server.split(":")
        self._target = host, int(port)
        self._limit = limit
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._ends: list[socket.socket] = []
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
            threading.Thread(target=self._copy, args=(server, client, None), daemon=True).start()
            self._copy(client, server, self._limit)

    def _copy(self, source: socket.socket, sink: socket.socket, limit: int | None) -> None:
        passed = 0
        with contextlib.suppress(OSError):
            while data := source.recv(1 << 14):
                if limit is None or passed + len(data) <= limit:
                    sink.sendall(data)
                else:
                    self.reached.set()
                passed += len(data)
        self.close()

    def close(self) -> None:
        """Both sides see the end."""
        for each in (self._listener, *self._ends):
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
            each.close()


@contextmanager
def relay(server: str, limit: int) -> Iterator[Relay]:
    made = Relay(server, limit)
    try:
        yield made
    finally:
        made.close()
