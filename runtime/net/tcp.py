"""Frames over TCP: a socket with a sending thread, and how two processes find each other."""

from __future__ import annotations

import contextlib
import logging
import queue
import socket
import threading
import time
from collections.abc import Callable
from dataclasses import replace

from ..base.errors import NetworkFault, PeerLeft
from ..base.wire import Buffer
from .address import shown
from .deadline import SLOWEST, Deadline
from .frame import BEAT, BEAT_SECONDS, BUSY_SECONDS
from .network import LAN, LOOPBACK, Network
from .shaping import Pace
from .stream import SocketStream, Stream

CLOSING_SECONDS = 10.0

log = logging.getLogger(__name__)

Item = tuple[float, tuple[Buffer, ...]] | threading.Event | None
"""For the sending thread: a message and when it was queued, what waits for all before it, or the end."""


class TcpTransport:
    """A connected stream with a sending thread, so that two large messages may cross.

    What is late, either way, is a fault (`deadline`): a peer that says nothing, or does not read. While this
    side's own messages are still on their way, the peer's answer is not waited for yet.

    Where there is nothing to send, the thread says every second that this side is alive (`frame.BEAT`),
    whatever else it does: a peer that is gone is known soon, one that computes and does not read is kept.

    Args:
        timeout: seconds of silence after which the peer is given up.
        shape: the network that the sending thread is as slow as; the protocol does not wait.
    """

    def __init__(
        self,
        sock: socket.socket | Stream,
        timeout: float = 600.0,
        shape: Network | None = None,
    ) -> None:
        self._stream = SocketStream(sock) if isinstance(sock, socket.socket) else sock
        self._timeout = timeout
        self._pace = Pace(shape) if shape else None
        # a network that this one stands for may be slower than any that is expected
        self._slowest = min(SLOWEST, shape.bandwidth / 2) if shape else SLOWEST
        self._due = Deadline(0, timeout)
        self._reading = False  # whether the peer is listened to just now,
        self._heard = 0.0  # and when it was last heard
        self._queue: queue.SimpleQueue[Item] = queue.SimpleQueue()
        self._queued = self._written = 0  # messages; each counted by one thread alone
        self._wrote = 0.0  # when the last of them was written
        self._broken: str | None = None
        self._thread = threading.Thread(target=self._pump, name="ppc-send", daemon=True)
        self._thread.start()

    def send(self, *parts: Buffer) -> None:
        self._check()
        self._queued += 1
        self._queue.put((time.monotonic(), parts))

    @property
    def sending(self) -> bool:
        return self._queued != self._written

    @property
    def connected(self) -> bool:
        return self._broken is None and self._stream.connected

    def expect(self, size: int, until: float | None = None) -> None:
        self._due = Deadline(size, self._timeout, self._slowest, until=until)

    def recv_into(self, view: memoryview) -> None:
        self._heard, self._reading = time.monotonic(), True
        try:
            self._fill(view)
        finally:
            self._reading = False

    def hang_up(self) -> None:
        """End the connection under whoever waits for the peer; any thread may."""
        self._stream.hang_up()

    def _fill(self, view: memoryview) -> None:
        at = 0
        while at < len(view):
            try:
                got = self._stream.recv_into(view[at:], self._due)
            except TimeoutError:
                if self._still_sending():
                    continue
                raise self._late() from None
            except OSError as error:
                raise NetworkFault(f"the connection to the peer broke: {error}") from None
            if got == 0 and self._broken:
                raise NetworkFault(self._broken)
            if got == 0 and self._due.passed:
                raise NetworkFault("the peer closed the connection in the middle of a message")
            if got == 0:
                raise PeerLeft("the peer closed the connection")
            self._heard = time.monotonic()
            at += got

    def flush(self) -> None:
        """Wait until everything sent is under way."""
        done = threading.Event()
        self._queue.put(done)
        while not done.wait(0.1) and self._thread.is_alive():
            pass
        self._check()

    def close(self) -> None:
        """Send what is queued, waiting no longer than `CLOSING_SECONDS` or the timeout; then close."""
        self._queue.put(None)
        self._thread.join(timeout=min(self._timeout, CLOSING_SECONDS))
        if self._thread.is_alive():
            self._stream.hang_up()
            self._thread.join(timeout=1)
        self._stream.close()

    def _check(self) -> None:
        if self._broken is not None:
            raise NetworkFault(self._broken)

    def _late(self) -> NetworkFault:
        if self._broken is not None:
            return NetworkFault(self._broken)
        why = self._due.why("the peer has been silent", "the peer's message comes too slowly")
        return NetworkFault(why) if self._due.begun else PeerLeft(why)

    def _still_sending(self) -> bool:
        """Whether the peer cannot be blamed yet: what it has to answer is not sent yet, or only just."""
        if self._broken is None:
            self._due.postpone(time.monotonic() if self.sending else self._wrote)
        return self._due.left() > 0

    def _pump(self) -> None:
        while (item := self._next()) is not None:
            match item:
                case threading.Event():
                    item.set()
                case (queued, parts) if self._write(queued, parts):
                    self._wrote = time.monotonic()
                    self._written += 1
                case _:
                    return

    def _next(self) -> Item:
        """What is queued next; where that is nothing for a while, this side says that it is alive."""
        while True:
            try:
                return self._queue.get(timeout=BEAT_SECONDS)
            except queue.Empty:
                if not self._write(time.monotonic(), (BEAT,)):
                    return None

    def _write(self, queued: float, parts: tuple[Buffer, ...]) -> bool:
        """Put one message on the wire; False where that is the end of the connection."""
        size = sum(memoryview(each).nbytes for each in parts)
        due = Deadline(size, self._timeout, self._slowest, excused=self._busy_peer(size))
        try:
            for data in parts:
                for piece in self._pace.pieces(queued, data) if self._pace else (data,):
                    self._stream.sendall(piece, due)
        except TimeoutError:
            self._broken = due.why("the peer has read nothing", "the peer reads too slowly")
            self._stream.hang_up()
            return False
        except OSError as error:
            self._broken = f"the connection to the peer broke: {error}"
            return False
        return True

    def _busy_peer(self, size: int) -> Callable[[], bool]:
        """Whether a peer that does not read computes: it is heard, or this side does not listen either."""
        until = time.monotonic() + BUSY_SECONDS + size / self._slowest

        def busy() -> bool:
            now = time.monotonic()
            return now < until and not (self._reading and now - self._heard >= self._timeout)

        return busy


def connect(address: tuple[str, int], patience: float = 30.0) -> socket.socket:
    """Connect, trying again for ``patience`` seconds while nobody listens yet, of which the log tells."""
    where, until, waiting = shown(address), time.monotonic() + patience, False
    while True:
        try:
            found = socket.create_connection(address, timeout=10)
            log.info("connected to %s", where)
            return found
        except OSError as error:
            if time.monotonic() >= until or isinstance(error, socket.gaierror):
                raise NetworkFault(f"cannot reach a server at {where}: {error.strerror or error}") from None
            if not waiting:
                waiting = True
                log.info("waiting up to %g seconds for a server at %s", patience, where)
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
