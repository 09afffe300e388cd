"""Addresses as they are written and as sockets take them, and a listener on all that a name stands for."""

from __future__ import annotations

import contextlib
import errno
import select
import socket
from collections.abc import Sequence
from types import TracebackType

from ..base.errors import BadInput, NetworkFault

BACKLOG = 128
"""What the kernel keeps of connections; it gives no more by default on many systems (net.core.somaxconn)."""

Address = str | tuple[str, int]
"""HOST:PORT, an IPv6 host in brackets; or the two apart."""


def parsed(address: Address) -> tuple[str, int]:
    """Host and port. Raises BadInput for what is no address."""
    match address.rpartition(":")[::2] if isinstance(address, str) else address:
        case [str(host), port] if host and str(port).isdigit() and int(port) < 65536:
            return host.strip("[]"), int(port)
    raise BadInput(f"an address is HOST:PORT, or (HOST, PORT), not {address!r}")


def shown(address: Sequence[object]) -> str:
    """HOST:PORT, of a socket's address too; an IPv6 host in brackets."""
    host, port = address[:2]
    return f"[{host}]:{port}" if ":" in str(host) else f"{host}:{port}"


class Listener:
    """Takes connections at every address that a name has, IPv4's and IPv6's, which `select` can wait for.

    ``::`` stands for every address of the machine, of both kinds. Port 0 is one port for all.

    Raises NetworkFault where it cannot listen at one of them; a kind that the machine lacks is left out.
    """

    def __init__(self, address: tuple[str, int]) -> None:
        self._sockets: list[socket.socket] = []
        self._ready = select.epoll()
        try:
            for family, place in _places(address):
                self._add(family, place)
        except OSError as error:
            self.close()
            raise NetworkFault(f"cannot listen on {shown(address)}: {error.strerror or error}") from None

    def _add(self, family: int, place: tuple[str, int]) -> None:
        host, port = place
        port = port or (self.getsockname()[1] if self._sockets else 0)
        both = host == "::" and socket.has_dualstack_ipv6()
        try:
            made = socket.create_server((host, port), family=family, backlog=BACKLOG, dualstack_ipv6=both)
        except OSError as error:
            if self._sockets and error.errno in (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT):
                return
            raise
        made.setblocking(False)
        self._sockets.append(made)
        self._ready.register(made, select.EPOLLIN)

    def __enter__(self) -> Listener:
        return self

    def __exit__(self, kind: type[BaseException] | None, fault: object, trace: TracebackType | None) -> None:
        self.close()

    def fileno(self) -> int:
        """Readable when a connection waits, for `select`."""
        return self._ready.fileno()

    def getsockname(self) -> tuple[str, int]:
        """The first of its addresses."""
        host, port = self._sockets[0].getsockname()[:2]
        return str(host), int(port)

    def take(self) -> tuple[socket.socket, tuple[str, int]] | None:
        """A connection that waits, and its peer; None where none does."""
        for each in self._sockets:
            with contextlib.suppress(BlockingIOError):
                found, peer = each.accept()
                found.setblocking(True)
                return found, (str(peer[0]), int(peer[1]))
        return None

    def close(self) -> None:
        for each in self._sockets:
            each.close()
        self._ready.close()


def _places(address: tuple[str, int]) -> list[tuple[int, tuple[str, int]]]:
    """(family, address) of all that a name stands for, each once."""
    host, port = address
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    return list(dict.fromkeys((int(family), (str(place[0]), port)) for family, _, _, _, place in found))
