"""Frames between two parties, over TCP or in memory.

A frame is 8 bytes of header (payload length, running number) and the payload. The receiver always
knows what size must come; anything else means that the two sides run different programs.
"""

from __future__ import annotations

import queue
import struct
from typing import Protocol

from ..base.errors import NetworkFault, PeerLeft, PeerMismatch
from ..base.wire import Buffer

HEADER = struct.Struct("<II")
MAX_PAYLOAD = 2**32 - 1
SHORT = 1 << 14
"""Bytes that are sent together with their header: a copy costs less than a second packet."""


class Transport(Protocol):
    """Ordered bytes both ways. ``send`` must not wait for the peer to read, ``flush`` may."""

    def send(self, data: Buffer) -> None: ...
    def expect(self, size: int) -> None:
        """A message of ``size`` bytes is waited for from now on; `recv_into` reads its parts."""
        ...

    def recv_into(self, view: memoryview) -> None: ...
    def flush(self) -> None: ...
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
        header = HEADER.pack(size, self._sent & 0xFFFFFFFF)
        if size <= SHORT:
            self._transport.send(header + bytes(payload))
        else:
            self._transport.send(header)
            self._transport.send(payload)
        self._sent += 1

    def recv(self, size: int) -> bytearray:
        """The next frame, which must have ``size`` bytes."""
        self._transport.expect(HEADER.size + size)
        got = self._header()
        if got != size:
            raise PeerMismatch(
                f"the peer sent {got} bytes where {size} belong; it runs another plan or version"
            )
        return self._body(size)

    def flush(self) -> None:
        """Wait until everything sent is under way."""
        self._transport.flush()

    def close(self) -> None:
        self._transport.close()

    @property
    def received(self) -> int:
        """Frames that have begun to come in."""
        return self._received

    def _header(self) -> int:
        head = bytearray(HEADER.size)
        try:
            self._transport.recv_into(memoryview(head))
        except NetworkFault:
            _refuse_tls(head)
            raise
        size, number = HEADER.unpack(head)
        if number != self._received & 0xFFFFFFFF:
            _refuse_tls(head)
            raise PeerMismatch("the peer's frames are out of step; it does not speak ppc, or bytes were lost")
        self._received += 1
        return int(size)

    def _body(self, size: int) -> bytearray:
        body = bytearray(size)
        if size:
            self._transport.recv_into(memoryview(body))
        return body


_SPEAKS_TLS = {
    b"\x16\x03": "the client speaks TLS, and this side does not: give --tls-cert and --tls-key here, or no "
    "--tls-ca there",
    b"\x15\x03": "the server speaks TLS, and this side does not: give --tls-ca",
}
"""By how TLS begins: a client with its handshake, a server that hears none with an alert."""


def _refuse_tls(head: bytes | bytearray) -> None:
    """PeerMismatch where the beginning of what should be a frame, which was not one, is TLS."""
    if said := _SPEAKS_TLS.get(bytes(head[:2])):
        raise PeerMismatch(said) from None


class _Pipe:
    """One end of an in-memory pair."""

    def __init__(self, out: queue.SimpleQueue[bytes | None], into: queue.SimpleQueue[bytes | None]) -> None:
        self._out, self._in, self._rest = out, into, b""

    def send(self, data: Buffer) -> None:
        self._out.put(bytes(data))

    def expect(self, size: int) -> None:
        """In memory nothing is late."""

    def recv_into(self, view: memoryview) -> None:
        at = 0
        while at < len(view):
            if not self._rest:
                data = self._in.get()
                if data is None:
                    raise PeerLeft("the peer closed the connection")
                self._rest = data
            take = min(len(self._rest), len(view) - at)
            view[at : at + take] = self._rest[:take]
            self._rest = self._rest[take:]
            at += take

    def flush(self) -> None:
        """What is sent is there at once."""

    def close(self) -> None:
        self._out.put(None)


def memory_pair() -> tuple[Channel, Channel]:
    """Two channels joined in memory, for tests."""
    a: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
    b: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
    return Channel(_Pipe(a, b)), Channel(_Pipe(b, a))
