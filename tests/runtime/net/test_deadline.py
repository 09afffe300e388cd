"""A peer holds a side no longer than a message may take, whether it is silent, trickles or does not read."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from certificates import LOOPBACK, Authority, pem
from frames import tcp_pair
from sides import serving_here
from tiny import tiny_feeds, tiny_plan, tiny_weights

from ppc.runtime.base.errors import NetworkFault, PeerLeft
from ppc.runtime.net.channel import Channel
from ppc.runtime.net.deadline import OPENING_SECONDS, SLOWEST, Deadline
from ppc.runtime.net.frame import HEADER
from ppc.runtime.net.network import NETWORKS, Network
from ppc.runtime.net.stream import SocketStream, Stream
from ppc.runtime.net.tcp import TcpTransport
from ppc.runtime.net.tls import ClientTls, ServerTls, TlsStream
from ppc.runtime.service.client import Client
from ppc.runtime.service.options import SessionOptions
from ppc.runtime.service.server import Server
from ppc.runtime.session.handshake import HELLO

SHORT = 0.2
"""Seconds of `timeout` where something has to be late."""
OPENING = 3.0
"""Seconds of an opening: an inference takes less."""
TRICKLE = 0.04
"""Seconds from a byte to the next, of a peer that is never silent for `SHORT`."""


# ---- the rule, by a clock of the test's own


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def test_silence_is_late():
    clock = Clock()
    due = Deadline(10_000_000, 60, clock=clock)
    for _ in range(2):
        clock.now += 20
        due.moved()
    clock.now += 30
    assert due.left() > 0
    clock.now += 30
    assert due.left() == 0
    assert due.why("the peer has been silent", "slow") == "the peer has been silent for 60 seconds"


def test_a_byte_now_and_then_gains_nothing():
    clock = Clock()
    due = Deadline(1000, 60, clock=clock)
    while due.left():
        clock.now += min(due.left(), 5)
        due.moved()
        due.passed += 1
    assert clock.now == pytest.approx(1000 + 60 + 1000 / SLOWEST)
    assert due.why("silent", "it comes too slowly") == (
        "it comes too slowly: 13 of 1,000 bytes in 60.0 seconds, where 60.0 are allowed for all"
    )


@pytest.mark.parametrize("rate", [SLOWEST, *(network.bandwidth for network in NETWORKS.values())])
def test_a_link_of_the_slowest_rate_carries_any_message(rate):
    """With a second of it on the way at a time, begun as late as can be."""
    clock = Clock()
    due = Deadline(5_000_000_000, 60, clock=clock)
    clock.now += 59.9
    while due.passed < due.size:
        clock.now += 1
        assert due.left() or not due.begun
        due.moved()
        due.passed += int(rate)


def test_the_wait_for_an_answer_counts_from_what_it_answers():
    clock = Clock()
    due = Deadline(8, 60, clock=clock)
    clock.now += 60
    due.postpone(clock.now - 10)
    assert due.left() == 50
    due.postpone(0)
    assert due.left() == 50
    due.moved()
    clock.now += 45
    due.postpone(clock.now)  # the answer has begun: nothing is a reason any more
    assert due.left() == pytest.approx(5, abs=0.1)


# ---- sockets, plain and with TLS


@dataclass(frozen=True)
class Wire:
    """How two ends are joined."""

    server: ServerTls | None = None
    client: ClientTls | None = None

    def pair(self, buffer: int = 0) -> tuple[Stream, Any]:
        """Our end and the peer's, with socket buffers of that size."""
        ours, theirs = tcp_pair()
        for each in (ours, theirs) if buffer else ():
            each.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, buffer)
            each.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer)
        if self.server is None or self.client is None:
            return SocketStream(ours), SocketStream(theirs)
        found: list[TlsStream] = []
        context = self.client.context()
        thread = threading.Thread(target=lambda: found.append(TlsStream(theirs, context, "127.0.0.1", 20)))
        thread.start()
        near = TlsStream(ours, self.server.context(), timeout=20)
        thread.join()
        return near, found[0]


@pytest.fixture(scope="module", params=["plain", "tls"])
def wire(request, tmp_path_factory) -> Wire:
    if request.param == "plain":
        return Wire()
    folder, authority = tmp_path_factory.mktemp("tls"), Authority.new("authority")
    (folder / "ca.pem").write_bytes(pem(authority.certificate))
    return Wire(authority.issue(folder / "server", LOOPBACK), ClientTls(folder / "ca.pem"))


def on_the_wire(peer: Any, data: bytes) -> tuple[socket.socket, bytes]:
    """The peer's socket, and the bytes that carry ``data`` on it."""
    if isinstance(peer, SocketStream):
        return peer.sock, data
    peer._tls.write(data)
    return peer._raw.sock, peer._outgoing.read()


@contextlib.contextmanager
def trickling(sock: socket.socket, data: bytes, pause: float = TRICKLE, step: int = 1) -> Iterator[list[int]]:
    """``step`` bytes at a time go out on ``sock``, ``pause`` seconds apart, while this is open; how many."""
    sent, stop = [0], threading.Event()

    def trickle() -> None:
        with contextlib.suppress(OSError):
            while sent[0] < len(data) and not stop.wait(pause):
                sent[0] += sock.send(data[sent[0] : sent[0] + step])

    thread = threading.Thread(target=trickle, daemon=True)
    thread.start()
    yield sent
    stop.set()
    thread.join()


def frame(payload: bytes) -> bytes:
    return HEADER.pack(len(payload), 0) + payload


def test_a_peer_that_says_nothing_is_given_up(wire):
    ours, peer = wire.pair()
    channel = Channel(TcpTransport(ours, SHORT))
    with pytest.raises(PeerLeft, match=r"^the peer has been silent for 0\.2 seconds$"):
        channel.recv(4)
    channel.close()
    peer.close()


@pytest.mark.parametrize("at_once", [0, HEADER.size], ids=["header", "body"])
def test_a_message_that_trickles_is_given_up(wire, at_once):
    """Not a byte of it is ever late by itself."""
    ours, peer = wire.pair()
    channel = Channel(TcpTransport(ours, SHORT))
    data = frame(bytes(40))
    sock, first = on_the_wire(peer, data[:at_once]) if at_once else (on_the_wire(peer, b"")[0], b"")
    sock.sendall(first)
    sock, rest = on_the_wire(peer, data[at_once:])
    with trickling(sock, rest) as sent, pytest.raises(NetworkFault, match=r"slowly|silent") as fault:
        channel.recv(40)
    assert sent[0] < len(rest)
    assert not isinstance(fault.value, PeerLeft)
    assert fault.value.exit_status == 5
    channel.close()
    peer.close()


def test_what_is_said_of_a_message_that_trickles(wire):
    ours, peer = wire.pair()
    channel = Channel(TcpTransport(ours, SHORT))
    sock, data = on_the_wire(peer, frame(bytes(40)))
    with trickling(sock, data, 0.01), pytest.raises(NetworkFault) as fault:
        channel.recv(40)
    said = str(fault.value)
    assert said.startswith("the peer's message comes too slowly: ")
    assert said.endswith("of 48 bytes in 0.2 seconds, where 0.2 are allowed for all")
    channel.close()
    peer.close()


@pytest.mark.long
def test_a_large_message_on_a_slow_link_is_waited_for(wire, monkeypatch):
    """It takes longer than the timeout, and is never silent for that long."""
    monkeypatch.setattr("ppc.runtime.net.tcp.SLOWEST", 4e3)
    ours, peer = wire.pair()
    channel = Channel(TcpTransport(ours, 3 * SHORT))
    sock, data = on_the_wire(peer, frame(bytes(10_000)))
    begun = time.monotonic()
    with trickling(sock, data, 0.01, step=100):
        assert channel.recv(10_000) == bytes(10_000)
    assert time.monotonic() - begun > 3 * SHORT
    channel.close()
    peer.close()


def reading(sock: socket.socket, count: int, pause: float, stop: threading.Event) -> threading.Thread:
    """A thread that reads ``count`` bytes at a time, ``pause`` seconds apart."""

    def read() -> None:
        with contextlib.suppress(OSError):
            while not stop.wait(pause):
                with contextlib.suppress(BlockingIOError):
                    if not sock.recv(count):
                        return

    thread = threading.Thread(target=read, daemon=True)
    thread.start()
    return thread


@pytest.mark.parametrize("count", [0, 20_000], ids=["not at all", "by and by"])
def test_a_peer_that_does_not_read_holds_nobody(wire, count, monkeypatch):
    """Whoever flushes hears of it, and so does whoever waits for the answer."""
    monkeypatch.setattr("ppc.runtime.net.tcp.SLOWEST", 30e6 if count else 1e5)  # silence is told long before
    ours, peer = wire.pair(buffer=1 << 15)
    channel, stop = Channel(TcpTransport(ours, SHORT)), threading.Event()
    sock, _ = on_the_wire(peer, b"")
    thread = reading(sock, count, TRICKLE / 4, stop) if count else None
    channel.send(bytes(3_000_000))
    said = (
        r"^the peer reads too slowly: .* of 3,000,008 bytes"
        if count
        else "^the peer has read nothing for 0.2 sec"
    )
    with pytest.raises(NetworkFault, match=said):
        channel.recv(4)
    with pytest.raises(NetworkFault, match=said):
        channel.flush()
    channel.close()
    stop.set()
    if thread:
        thread.join()
    peer.close()


def test_closing_waits_for_no_peer_that_does_not_read(wire):
    ours, peer = wire.pair(buffer=4096)
    transport = TcpTransport(ours, SHORT)
    Channel(transport).send(bytes(10_000_000))
    transport.close()
    assert not transport._thread.is_alive()
    peer.close()


@pytest.mark.long
def test_a_slow_reader_gets_a_large_message(wire, monkeypatch):
    """And its answer is waited for from then on: nobody can answer what has not come yet."""
    monkeypatch.setattr("ppc.runtime.net.tcp.SLOWEST", 20e3)
    size = 1_000_000
    ours, peer = wire.pair(buffer=1 << 15)
    channel, got = Channel(TcpTransport(ours, 3 * SHORT)), 0
    channel.send(bytes(size))

    def answer() -> None:
        nonlocal got
        into, due = bytearray(10_000), Deadline(size, 20)
        while got < HEADER.size + size:
            got += peer.recv_into(memoryview(into), due)
            time.sleep(0.01)
        sock, data = on_the_wire(peer, frame(b"well"))
        sock.send(data)

    thread = threading.Thread(target=answer, daemon=True)
    begun = time.monotonic()
    thread.start()
    assert channel.recv(4) == b"well"
    assert time.monotonic() - begun > 3 * SHORT
    thread.join()
    channel.close()
    peer.close()


@pytest.mark.long
def test_a_network_that_stands_for_a_slower_one_is_not_cut():
    shape = Network("modem", 10e3, 0.02)
    ends = [Channel(TcpTransport(each, 4 * SHORT, shape)) for each in tcp_pair()]
    begun = time.monotonic()
    ends[0].send(bytes(16_000))
    assert ends[1].recv(16_000) == bytes(16_000)
    assert time.monotonic() - begun > 4 * SHORT
    for end in ends:
        end.close()


# ---- strangers at a server's door


@contextlib.contextmanager
def strangers(address: tuple[str, int], count: int, begins: bytes) -> Iterator[None]:
    """Some that connect and say a byte every now and then; the first is let in at once."""
    socks = [socket.create_connection(address) for _ in range(count)]
    with contextlib.ExitStack() as stack:
        for sock in socks:
            stack.enter_context(trickling(sock, begins + bytes(500), 1.5 * SHORT))
        yield
    for sock in socks:
        sock.close()


@pytest.mark.long
def test_strangers_cost_a_client_nothing_and_are_gone_when_their_opening_is_over(wire, monkeypatch):
    """However slowly they go on with what may well become a client's first words."""
    for module in ("service.session", "net.tls"):
        monkeypatch.setattr(f"ppc.runtime.{module}.OPENING_SECONDS", OPENING)
    patient = SessionOptions(timeout=25)
    server = Server(tiny_plan(), tiny_weights(), patient, tls=wire.server)
    # what may well become a ClientHello, or ours
    begins = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" if wire.server else HEADER.pack(HELLO.size, 0)
    with serving_here(server, once=False) as (address, said), strangers(address, 2, begins):
        begun = time.monotonic()
        outcome = Client(tiny_plan(), patient, tls=wire.client).run(tiny_feeds(), address)
        assert outcome.outputs is not None
        assert not any("failed" in line for line in said), "they are still there"
        until = begun + OPENING + 5  # one who trickles to the end takes longer
        while sum("failed" in line for line in said) < 2:
            assert time.monotonic() < until
            time.sleep(0.01)
    assert time.monotonic() - begun > OPENING / 2


def test_the_opening_is_short_and_a_timeout_may_be_shorter():
    assert SessionOptions().timeout > OPENING_SECONDS
    ours, peer = tcp_pair()
    channel = Channel(TcpTransport(ours, 60))
    channel.within(SHORT)
    with pytest.raises(PeerLeft, match=r"silent for 0\.(2|19\d) seconds"):
        channel.recv(4)
    channel.close()
    peer.close()
