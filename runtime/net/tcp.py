"""Frames over TCP: a socket with a sending thread, and how two processes find each other."""

from __future__ import annotations

import contextlib
import queue
import socket
import threading
import time
from dataclasses import replace
from typing import Protocol

from ..base.errors import NetworkFault, PeerLeft
from ..base.wire import Buffer
from .network import LAN, LOOPBACK, Network
from .shaping import Pace


class Stream(Protocol):
    """What is used of a connected socket."""

    def setsockopt(self, level: int, name: int, value: int, /) -> None: ...
    def settimeout(self, seconds: float | None, /) -> None: ...
    def sendall(self, data: Buffer, /) -> None: ...
    def recv_into(self, view: memoryview, /) -> int: ...
    def close(self) -> None: ...


class TcpTransport:
    """A connected socket with a sending thread, so that two large messages may cross.

    With ``shape`` that thread sends as slowly as the network it stands for; the protocol does not wait.
    """

    def __init__(self, sock: Stream, timeout: float = 600.0, shape: Network | None = None) -> None:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.settimeout(timeout)
        self._sock = sock
        self._timeout = timeout
        self._pace = Pace(shape) if shape else None
        self._queue: queue.SimpleQueue[tuple[float, Buffer] | threading.Event | None] = queue.SimpleQueue()
        self._broken: OSError | None = None
        self._thread = threading.Thread(target=self._pump, name="ppc-send", daemon=True)
        self._thread.start()

    def send(self, data: Buffer) -> None:
        self._check()
        self._queue.put((time.monotonic(), data))

    def recv_into(self, view: memoryview) -> None:
        at = 0
        while at < len(view):
            try:
                got = self._sock.recv_into(view[at:])
            except TimeoutError:
                fault = NetworkFault if at else PeerLeft
                raise fault(f"the peer has been silent for {self._timeout:g} seconds") from None
            except OSError as error:
                raise NetworkFault(f"the connection to the peer broke: {error}") from None
            if got == 0 and at:
                raise NetworkFault("the peer closed the connection in the middle of a message")
            if got == 0:
                raise PeerLeft("the peer closed the connection")
            at += got

    def flush(self) -> None:
        """Wait until everything sent is under way."""
        done = threading.Event()
        self._queue.put(done)
        while not done.wait(0.1) and self._thread.is_alive():
            pass
        self._check()

    def close(self) -> None:
        """Send what is queued, but wait no longer than ten seconds for it; then close."""
        self._queue.put(None)
        self._thread.join(timeout=10)
        self._sock.close()

    def _check(self) -> None:
        if self._broken is not None:
            raise NetworkFault(f"the connection to the peer broke: {self._broken}")

    def _pump(self) -> None:
        while (item := self._queue.get()) is not None:
            if isinstance(item, threading.Event):
                item.set()
                continue
            queued, data = item
            try:
                for piece in self._pace.pieces(queued, data) if self._pace else (data,):
                    self._sock.sendall(piece)
            except OSError as error:
                self._broken = error
                return


def listen(address: tuple[str, int]) -> socket.socket:
    try:
        return socket.create_server(address, reuse_port=False, backlog=1)
    except OSError as error:
        raise NetworkFault(f"cannot listen on {address[0]}:{address[1]}: {error.strerror or error}") from None


def connect(address: tuple[str, int], patience: float = 30.0) -> socket.socket:
    """Connect, trying again for ``patience`` seconds while nobody listens yet."""
    until = time.monotonic() + patience
    while True:
        try:
            return socket.create_connection(address, timeout=10)
        except OSError as error:
            if time.monotonic() >= until or isinstance(error, socket.gaierror):
                where = f"{address[0]}:{address[1]}"
                raise NetworkFault(f"cannot reach a server at {where}: {error.strerror or error}") from None
            time.sleep(0.1)


def link(stream: object, shape: Network | None) -> Network:
    """What is known of the network below a connected stream."""
    here = False
    if isinstance(stream, socket.socket):  # not TLS, nor a test's own stream
        with contextlib.suppress(OSError):
            here = stream.getpeername()[:1] == stream.getsockname()[:1]
    if shape is None:
        return LOOPBACK if here else LAN
    return replace(shape, one_machine=here)
