"""Frames between two parties, over TCP or in memory.

The receiver always knows what size must come; anything else means that the two sides run different programs.
What the peer tells between frames (`frame.Notice`) is heeded here and goes no further.
"""

from __future__ import annotations

import queue
import time
from collections.abc import Callable
from typing import Protocol

from ..base.errors import NetworkFault, PeerLeft, PeerMismatch
from ..base.wire import Buffer
from .frame import BUSY_SECONDS, HEADER, MAX_PAYLOAD, NO_FRAME, Notice, Told

SHORT = 1 << 14
"""Bytes that are sent together with their header: a copy costs less than a second packet."""


class Transport(Protocol):
    """Ordered bytes both ways. ``send`` must not wait for the peer to read, ``flush`` may."""

    def send(self, *parts: Buffer) -> None:
        """Nothing comes between the parts."""
        ...

    def expect(self, size: int, until: float | None = None) -> None:
        """A message of ``size`` bytes is waited for from now on; `recv_into` reads its parts.

        It must be there at ``until``, in seconds of `time.monotonic`, where that is given.
        """
        ...

    def recv_into(self, view: memoryview) -> None: ...
    @property
    def sending(self) -> bool:
        """Whether something that was sent is still on its way, so that the peer cannot have answered it."""
        ...

    @property
    def connected(self) -> bool:
        """False once the peer has hung up."""
        ...

    def flush(self) -> None: ...
    def close(self) -> None: ...


def deaf(notice: Notice) -> None:
    """For a side to which nothing is to be told but that the peer is alive."""
    raise PeerMismatch("the peer tells what only a server tells; it does not speak ppc")


class Channel:
    """Counts nothing and knows nothing of protocols: frames out, frames in, in step.

    ``heed`` is given what the peer tells beside them, unless it is only that it is alive; it may raise.
    """

    def __init__(self, transport: Transport, heed: Callable[[Notice], None] = deaf) -> None:
        self._transport = transport
        self._heed = heed
        self._sent = 0
        self._received = 0
        self._until: float | None = None

    def send(self, payload: Buffer) -> None:
        size = memoryview(payload).nbytes
        if size > MAX_PAYLOAD:
            raise ValueError(f"a frame holds at most {MAX_PAYLOAD} bytes, not {size}")
        header = HEADER.pack(size, self._sent & 0xFFFFFFFF)
        if size <= SHORT:
            self._transport.send(header + bytes(payload))
        else:
            self._transport.send(header, payload)
        self._sent += 1

    def notify(self, notice: Notice) -> None:
        """Tell the peer something that is no part of the program; any thread may."""
        self._transport.send(notice.pack())

    def within(self, seconds: float | None) -> None:
        """What is received from now on must be there in so many seconds, alive or not; None: no longer."""
        self._until = None if seconds is None else time.monotonic() + seconds

    def recv(self, size: int) -> bytearray:
        """The next frame, which must have ``size`` bytes."""
        begun = time.monotonic()
        while True:
            self._transport.expect(HEADER.size + size, self._until)
            got = self._header()
            if not isinstance(got, Notice):
                break
            if got.told is not Told.ALIVE:
                self._heed(got)
            elif not self._transport.sending:
                if time.monotonic() - begun < BUSY_SECONDS:
                    continue
                raise NetworkFault(f"the peer has said nothing for {BUSY_SECONDS:g} s but that it is alive")
            begun = time.monotonic()
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

    @property
    def connected(self) -> bool:
        """False once the peer has hung up."""
        return self._transport.connected

    def _header(self) -> int | Notice:
        head = bytearray(HEADER.size)
        try:
            self._transport.recv_into(memoryview(head))
        except NetworkFault:
            _refuse_tls(head)
            raise
        size, number = HEADER.unpack(head)
        if size == NO_FRAME:
            try:
                notice = Notice.unpack(number)
                text = self._body(notice.follows)
                return notice._replace(text=text.decode("ascii"))
            except ValueError:
                raise PeerMismatch("the peer does not speak ppc, or a newer one") from None
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

    def send(self, *parts: Buffer) -> None:
        for data in parts:
            self._out.put(bytes(data))

    def expect(self, size: int, until: float | None = None) -> None:
        """In memory nothing is late."""

    @property
    def sending(self) -> bool:
        return False

    @property
    def connected(self) -> bool:
        return True

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
