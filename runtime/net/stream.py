"""A connected socket whose every wait ends: it never blocks but in `wait`, and there not past a deadline.

Python's own timeout of a socket starts anew with each call, and is one for reading and writing.
"""

from __future__ import annotations

import contextlib
import errno
import os
import select
import socket
from math import ceil
from typing import Protocol

from ..base.wire import Buffer
from .deadline import Deadline

LONGEST_WAIT = 3600.0
"""Seconds in one call of poll, whose milliseconds have 31 bits."""


class Stream(Protocol):
    """Bytes both ways, for one thread that sends and one that receives. TimeoutError past a deadline."""

    def sendall(self, data: Buffer, deadline: Deadline, /) -> None: ...
    def recv_into(self, view: memoryview, deadline: Deadline, /) -> int:
        """At least a byte; 0 at the end."""
        ...

    @property
    def connected(self) -> bool:
        """False once the peer has hung up, also where some of what it said before is unread."""
        ...

    def hang_up(self) -> None:
        """End both directions, so that whoever waits here does so no longer."""
        ...

    def close(self) -> None: ...


class SocketStream:
    """A socket as it is."""

    def __init__(self, sock: socket.socket) -> None:
        sock.setblocking(False)
        with contextlib.suppress(OSError):  # a socket of another kind than TCP has no such delay
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.sock = sock
        self._polls: dict[int, select.poll] = {}
        for event in (select.POLLIN, select.POLLOUT, select.POLLRDHUP):
            self._polls[event] = select.poll()
            self._polls[event].register(sock, event)

    def sendall(self, data: Buffer, deadline: Deadline, /) -> None:
        view, at = memoryview(data).cast("B"), 0
        while at < len(view):
            sent = self.send_some(view[at:], deadline)
            deadline.passed += sent
            at += sent

    def recv_into(self, view: memoryview, deadline: Deadline, /) -> int:
        got = self.recv_some(view, deadline)
        deadline.passed += got
        return got

    def send_some(self, view: memoryview, deadline: Deadline) -> int:
        """Bytes that are not the message's own are not counted as such."""
        while True:
            try:
                sent = self.sock.send(view)
            except BlockingIOError:
                self._wait(select.POLLOUT, deadline)
                continue
            deadline.moved()
            return sent

    def recv_some(self, view: memoryview, deadline: Deadline) -> int:
        while True:
            try:
                got = self.sock.recv_into(view)
            except BlockingIOError:
                self._wait(select.POLLIN, deadline)
                continue
            deadline.moved()
            return got

    @property
    def connected(self) -> bool:
        return self.sock.fileno() >= 0 and not self._polls[select.POLLRDHUP].poll(0)

    def hang_up(self) -> None:
        with contextlib.suppress(OSError):
            self.sock.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        self.sock.close()

    def _wait(self, event: int, deadline: Deadline) -> None:
        left = deadline.left()
        if not left:
            raise TimeoutError
        if self.sock.fileno() < 0:  # closed meanwhile; what has its number now is no concern of ours
            raise OSError(errno.EBADF, os.strerror(errno.EBADF))
        self._polls[event].poll(ceil(min(left, LONGEST_WAIT) * 1000))
