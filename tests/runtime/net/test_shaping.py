"""A shaped link is as slow as it says: bandwidth adds up, delay does not, and nobody waits to send."""

from __future__ import annotations

import socket
import threading
import time

import pytest
from sides import infer, serve_one
from tiny import tiny_feeds, tiny_plan, tiny_weights

from ppc.runtime.base.errors import NetworkFault
from ppc.runtime.net.channel import Channel
from ppc.runtime.net.network import Network
from ppc.runtime.net.shaping import Pace
from ppc.runtime.net.tcp import TcpTransport

pytestmark = pytest.mark.long

FAST = 1e12


def joined(shape: Network | None) -> tuple[Channel, Channel]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        client = socket.create_connection(listener.getsockname()[:2])
        return Channel(TcpTransport(listener.accept()[0], 20, shape)), Channel(
            TcpTransport(client, 20, shape)
        )


def took(begun: float) -> float:
    return time.monotonic() - begun


def test_every_flight_waits_half_a_round_trip():
    ends = joined(Network("slow", FAST, 0.020))
    begun = time.monotonic()
    for i in range(10):
        ends[i % 2].send(b"ping")
        ends[1 - i % 2].recv(4)
    assert took(begun) >= 10 * 0.010
    for end in ends:
        end.close()


def test_messages_that_follow_each_other_share_the_delay():
    ends = joined(Network("far", FAST, 0.400))
    begun = time.monotonic()
    for _ in range(50):
        ends[0].send(b"ping")
    for _ in range(50):
        ends[1].recv(4)
    assert 0.200 <= took(begun) < 25 * 0.200
    for end in ends:
        end.close()


def test_bytes_take_their_time_and_the_sender_does_not():
    ends = joined(Network("narrow", 12.5e6, 0.0))
    begun = time.monotonic()
    ends[0].send(bytes(10_000_000))
    sent = took(begun)
    ends[1].recv(10_000_000)
    whole = took(begun)
    assert whole >= 0.8
    assert sent < whole / 4
    for end in ends:
        end.close()


def test_a_message_arrives_by_and_by():
    """Not all at its end: a reader of its first part does not wait for the last."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        reader = socket.create_connection(listener.getsockname()[:2])
        sender = TcpTransport(listener.accept()[0], 20, Network("narrow", 1e6, 0.0))
    begun = time.monotonic()
    sender.send(bytes(600_000))
    reader.recv(1)
    first = took(begun)
    got = 1
    while got < 600_000:
        got += len(reader.recv(1 << 20))
    assert took(begun) >= 0.6
    assert first < took(begun) / 2
    sender.close()
    reader.close()


def test_both_directions_have_the_bandwidth():
    """Two messages that cross take as long as one, not as two that wait for each other."""
    ends = joined(Network("narrow", 5e6, 0.0))
    begun = time.monotonic()
    for end in ends:
        end.send(bytes(1_000_000))
    for end in ends:
        end.recv(1_000_000)
    crossing, begun = took(begun), time.monotonic()
    for i in range(2):
        ends[i].send(bytes(1_000_000))
        ends[1 - i].recv(1_000_000)
    assert 0.2 <= crossing < 0.8 * took(begun)
    for end in ends:
        end.close()


def test_an_idle_link_saves_nothing():
    """A bucket without burst: what was not sent earlier is not sent faster later."""
    pace = Pace(Network("narrow", 1e6, 0.0))
    for _ in range(2):
        begun = time.monotonic()
        assert sum(map(len, pace.pieces(begun, bytes(100_000)))) == 100_000
        assert took(begun) >= 0.1
        time.sleep(0.05)


def test_closing_sends_what_is_queued():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        client = socket.create_connection(listener.getsockname()[:2])
        sender = TcpTransport(listener.accept()[0], 20, Network("slow", 1e6, 0.050))
    reader = Channel(TcpTransport(client, 20))
    Channel(sender).send(bytes(200_000))
    sender.flush()
    sender.close()
    assert reader.recv(200_000) == bytes(200_000)
    reader.close()


def test_a_link_that_broke_is_told_at_the_end():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        client = socket.create_connection(listener.getsockname()[:2])
        sender = TcpTransport(listener.accept()[0], 20, Network("slow", 1e6, 0.020))
    client.close()
    for _ in range(3):
        sender.send(bytes(100_000))
    with pytest.raises(NetworkFault, match="broke"):
        sender.flush()
    sender.close()


def test_a_run_takes_half_a_round_trip_for_each_flight():
    shape = Network("slow", 50e6, 0.010)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        client = socket.create_connection(listener.getsockname()[:2])
        server = listener.accept()[0]
    options = {"timeout": 20, "shape": shape}
    thread = threading.Thread(target=serve_one, args=(server, tiny_plan(), tiny_weights()), kwargs=options)
    thread.start()
    report = infer(client, tiny_plan(), tiny_feeds(), **options).report
    thread.join(timeout=20)
    flights = sum(report[phase]["flights"] for phase in ("setup", "offline", "online"))
    assert flights > 30
    assert report["seconds"] >= flights * 0.005
