"""Frames between two parties, over TCP or in memory.

A frame is 8 bytes of header (payload length, running number) and the payload. The receiver always
knows what size must come; anything else means that the two sides run different programs.
"""

from __future__ import annotations

import queue
import socket
import struct
import threading
import time
from typing import Protocol

from .errors import NetworkFault, PeerMismatch
from .rates import Network
from .shaping import Pace

HEADER = struct.Struct("<II")
MAX_PAYLOAD = 2**32 - 1

Buffer = bytes | bytearray | memoryview


class Transport(Protocol):
    """Ordered bytes both ways. ``send`` must not wait for the peer to read."""

    def send(self, data: Buffer) -> None: ...
    def recv_into(self, view: memoryview) -> None: ...
    def close(self) -> None: ...


class Stream(Protocol):
    """What is used of a connected socket."""

    def setsockopt(self, level: int, name: int, value: int, /) -> None: ...
    def settimeout(self, seconds: float | None, /) -> None: ...
    def sendall(self, data: Buffer, /) -> None: ...
    def recv_into(self, view: memoryview, /) -> int: ...
    def close(self) -> None: ...


class Channel:
    """Counts nothing and knows nothing of protocols: frames out, frames in, in step."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport
        self._sent = 0
        self._received = 0

    def send(self, payload: Buffer) -> None:
        size = memoryview(payload).nbytes
        if size > MAX_PAYLOAD:
            raise ValueError(f"a frame holds at most {MAX_PAYLOAD} bytes, not {size}")
        self._transport.send(HEADER.pack(size, self._sent & 0xFFFFFFFF))
        if size:
            self._transport.send(payload)
        self._sent += 1

    def recv(self, size: int) -> bytearray:
        """The next frame, which must have ``size`` bytes."""
        got = self._header()
        if got != size:
            raise PeerMismatch(
                f"the peer sent {got} bytes where {size} belong; it runs another plan or version"
            )
        return self._body(size)

    def recv_any(self, limit: int) -> bytearray:
        """The next frame, of any size up to ``limit`` (the handshake alone needs this)."""
        got = self._header()
        if got > limit:
            raise PeerMismatch(f"the peer opened with {got} bytes, more than {limit}; it does not speak ppc")
        return self._body(got)

    def close(self) -> None:
        self._transport.close()

    def _header(self) -> int:
        head = bytearray(HEADER.size)
        self._transport.recv_into(memoryview(head))
        size, number = HEADER.unpack(head)
        if number != self._received & 0xFFFFFFFF:
            raise PeerMismatch("the peer's frames are out of step; it does not speak ppc, or bytes were lost")
        self._received += 1
        return int(size)

    def _body(self, size: int) -> bytearray:
        body = bytearray(size)
        if size:
            self._transport.recv_into(memoryview(body))
        return body


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
        self._queue: queue.SimpleQueue[tuple[float, Buffer] | None] = queue.SimpleQueue()
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
                raise NetworkFault(f"the peer has been silent for {self._timeout:g} seconds") from None
            except OSError as error:
                raise NetworkFault(f"the connection to the peer broke: {error}") from None
            if got == 0:
                raise NetworkFault("the peer closed the connection")
            at += got

    def finish(self) -> None:
        """Wait until everything sent is under way; nothing can be sent afterwards."""
        self._queue.put(None)
        self._thread.join()
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
            queued, data = item
            try:
                for piece in self._pace.pieces(queued, data) if self._pace else (data,):
                    self._sock.sendall(piece)
            except OSError as error:
                self._broken = error
                return


class _Pipe:
    """One end of an in-memory pair."""

    def __init__(self, out: queue.SimpleQueue[bytes | None], into: queue.SimpleQueue[bytes | None]) -> None:
        self._out, self._in, self._rest = out, into, b""

    def send(self, data: Buffer) -> None:
        self._out.put(bytes(data))

    def recv_into(self, view: memoryview) -> None:
        at = 0
        while at < len(view):
            if not self._rest:
                data = self._in.get()
                if data is None:
                    raise NetworkFault("the peer closed the connection")
                self._rest = data
            take = min(len(self._rest), len(view) - at)
            view[at : at + take] = self._rest[:take]
            self._rest = self._rest[take:]
            at += take

    def close(self) -> None:
        self._out.put(None)


def memory_pair() -> tuple[Channel, Channel]:
    """Two channels joined in memory, for tests."""
    a: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
    b: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
    return Channel(_Pipe(a, b)), Channel(_Pipe(b, a))


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
