"""What is told between frames: a peer that computes is known from one that is gone, and no ledger sees it."""

from __future__ import annotations

import threading
import time

import pytest
from frames import session as run_session
from frames import succeeded, tcp_pair
from tiny import tiny_feeds, tiny_plan, tiny_weights

from ppc.runtime.base.errors import NetworkFault, PeerMismatch, PeerRefuses
from ppc.runtime.net.channel import Channel
from ppc.runtime.net.frame import HEADER, NO_FRAME, Notice, Told
from ppc.runtime.net.tcp import TcpTransport
from ppc.runtime.party.ledger import PHASES
from ppc.runtime.service.session import heed

SHORT = 0.3
"""Seconds of `timeout`; beats come ten times as often."""


@pytest.fixture
def ends(monkeypatch):
    monkeypatch.setattr("ppc.runtime.net.tcp.BEAT_SECONDS", SHORT / 10)
    made = [Channel(TcpTransport(sock, SHORT)) for sock in tcp_pair()]
    yield made
    for end in made:
        end.close()


def test_a_peer_that_computes_is_waited_for(ends):
    ours, peer = ends
    threading.Timer(3 * SHORT, peer.send, [b"well"]).start()
    begun = time.monotonic()
    assert ours.recv(4) == b"well"
    assert time.monotonic() - begun > 2 * SHORT


def test_a_peer_that_computes_and_does_not_read_is_waited_for(ends):
    """More than the buffers of both sockets hold, which nobody takes for longer than the timeout."""
    ours, peer = ends
    large = bytes(30_000_000)
    ours.send(large)
    time.sleep(3 * SHORT)
    assert peer.recv(len(large)) == large
    peer.send(b"well")
    assert ours.recv(4) == b"well"


def test_a_peer_that_only_says_that_it_is_alive_is_given_up(ends, monkeypatch):
    monkeypatch.setattr("ppc.runtime.net.channel.BUSY_SECONDS", 2 * SHORT)
    begun = time.monotonic()
    with pytest.raises(NetworkFault, match=r"nothing for 0\.6 s but that it is alive"):
        ends[0].recv(4)
    assert time.monotonic() - begun < 4 * SHORT


def test_being_alive_is_no_excuse_where_something_is_due(ends):
    ends[0].within(SHORT)
    with pytest.raises(NetworkFault, match=r"silent|slowly"):
        ends[0].recv(4)


def test_nothing_comes_within_a_frame(ends, monkeypatch):
    """However late its second half is taken up."""
    monkeypatch.setattr("ppc.runtime.net.tcp.BEAT_SECONDS", 1e-5)
    ours, peer = ends
    for size in (1 << 14, (1 << 14) + 1, 1 << 20) * 10:
        ours.send(bytes(size))
        assert peer.recv(size) == bytes(size)


def test_the_ledger_knows_nothing_of_it(monkeypatch):
    written = []
    real = TcpTransport._write

    def write(self, queued, parts):
        written.append(parts)
        return real(self, queued, parts)

    monkeypatch.setattr("ppc.runtime.net.tcp.BEAT_SECONDS", 1e-3)
    monkeypatch.setattr(TcpTransport, "_write", write)
    for outcome in succeeded(run_session(tiny_plan(), tiny_weights(), tiny_feeds())).values():
        for phase in PHASES:
            for what in ("sent", "received", "flights"):
                assert outcome.report[phase][what] == outcome.report["predicted"][phase][what]
    assert (Notice(Told.ALIVE).pack(),) in written


def test_what_a_server_tells_ends_a_client_that_waits():
    for told, said in (
        (Told.BUSY, "busy and takes no more clients; come again in 7 s"),
        (Told.STOPPING, "stops"),
    ):
        server, sock = tcp_pair()
        ours, client = Channel(TcpTransport(server, 20)), Channel(TcpTransport(sock, 20), heed)
        ours.notify(Notice(Told.PLACE, 2))
        ours.notify(Notice(told, 7))
        with pytest.raises(PeerRefuses, match=said):
            client.recv(4)
        ours.close()
        client.close()


@pytest.mark.parametrize("number", [Notice(Told.PLACE, 1), 200 << 24], ids=["a server's", "unknown"])
def test_a_client_has_nothing_to_tell(number, ends):
    ours, peer = ends
    packed = number.pack() if isinstance(number, Notice) else HEADER.pack(NO_FRAME, number)
    peer._transport.send(packed)
    with pytest.raises(PeerMismatch, match="does not speak ppc"):
        ours.recv(4)


def test_a_notice_comes_out_as_it_went_in():
    for notice in (Notice(Told.ALIVE), Notice(Told.PLACE, 3), Notice(Told.BUSY, 1 << 30)):
        size, number = HEADER.unpack(notice.pack())
        assert size == NO_FRAME
        assert Notice.unpack(number) == notice._replace(value=min(notice.value, (1 << 24) - 1))


def test_who_hangs_up_is_seen_before_all_is_read():
    ours, peer = tcp_pair()
    channel = Channel(TcpTransport(ours, 20))
    peer.sendall(b"something unread")
    assert channel.connected
    peer.close()
    until = time.monotonic() + 5
    while channel.connected:
        assert time.monotonic() < until
    channel.close()
