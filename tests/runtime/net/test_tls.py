"""TLS: a whole run through it, two large messages crossing, and every wrong certificate refused in a line."""

from __future__ import annotations

import re
import socket
import ssl
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from certificates import DAY, LOOPBACK, NOW, Authority, pem, private
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from sides import infer, serve_one, serving_here
from tiny import tiny_feeds, tiny_plan, tiny_weights

from ppc.runtime.base.errors import BadInput, NetworkFault, PeerMismatch, RuntimeFault
from ppc.runtime.net import authority as ppc_authority
from ppc.runtime.net.authority import Issued
from ppc.runtime.net.channel import Channel
from ppc.runtime.net.deadline import Deadline
from ppc.runtime.net.tcp import TcpTransport
from ppc.runtime.net.tls import ClientTls, ServerTls, TlsStream
from ppc.runtime.service.client import Client
from ppc.runtime.service.options import SessionOptions
from ppc.runtime.service.server import Server


@dataclass(frozen=True)
class Files:
    server: ServerTls
    elsewhere: ServerTls
    expired: ServerTls
    client: ClientTls
    stranger: ClientTls
    folder: Path


@pytest.fixture(scope="module")
def files(tmp_path_factory) -> Files:
    folder = tmp_path_factory.mktemp("tls")
    authority, other = Authority.new("authority"), Authority.new("other")
    (folder / "ca.pem").write_bytes(pem(authority.certificate))
    (folder / "other.pem").write_bytes(pem(other.certificate))
    return Files(
        authority.issue(folder / "server", LOOPBACK),
        authority.issue(folder / "elsewhere", [x509.DNSName("example.org")]),
        authority.issue(folder / "expired", LOOPBACK, expired=True),
        ClientTls(folder / "ca.pem"),
        ClientTls(folder / "other.pem"),
        folder,
    )


@dataclass(frozen=True)
class Named:
    """Of an authority that names clients too; ``stranger`` is vouched for by another."""

    server: ServerTls
    client: ClientTls
    stranger: ServerTls
    expired: ServerTls


@pytest.fixture(scope="module")
def named(tmp_path_factory) -> Named:
    folder = tmp_path_factory.mktemp("named")
    mine, other = ppc_authority.Authority(folder / "mine"), ppc_authority.Authority(folder / "other")
    mine.server(["127.0.0.1"], days=10)
    mine.client("alice", days=10)
    other.client("mallory", days=10)
    mine.client("late", days=0)
    ca = folder / "mine" / "ca.pem"

    def files(at: Path, name: str) -> ServerTls:
        return ServerTls(at / f"{name}.pem", at / f"{name}.key", ca)

    alice = files(folder / "mine", "alice")
    return Named(
        files(folder / "mine", "server"),
        ClientTls(ca, alice.certificate, alice.key),
        files(folder / "other", "mallory"),
        files(folder / "mine", "late"),
    )


def meet(server: Callable[[socket.socket], Any], client: Callable[[socket.socket], Any]) -> list[Any]:
    """Both sides of one connection at once: what each returned or raised."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        near = socket.create_connection(listener.getsockname()[:2])
        ends = (listener.accept()[0], near)
    found: list[Any] = [None, None]

    def run(i: int, side: Callable[[socket.socket], Any]) -> None:
        try:
            found[i] = side(ends[i])
        except RuntimeFault as fault:
            found[i] = fault
            ends[i].close()

    threads = [threading.Thread(target=run, args=each) for each in enumerate((server, client))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=20)
    assert not any(thread.is_alive() for thread in threads)
    return found


def streams(server: ServerTls, client: ClientTls, name: str = "127.0.0.1") -> list[Any]:
    return meet(
        lambda sock: TlsStream(sock, server.context()), lambda sock: TlsStream(sock, client.context(), name)
    )


def test_a_run_through_tls(files):
    patient = SessionOptions(timeout=20)
    server = Server(tiny_plan(), tiny_weights(), patient, tls=files.server)
    with serving_here(server) as (address, _):
        outcome = Client(tiny_plan(), patient, tls=files.client).run(tiny_feeds(), address)
    assert outcome.outputs is not None
    # what is counted is what the protocols say, not what TLS makes of it
    assert outcome.report["online"]["sent"] == outcome.report["predicted"]["online"]["sent"]


def test_only_tls_13_is_spoken(files):
    server, client = streams(files.server, files.client)
    assert server._tls.version() == client._tls.version() == "TLSv1.3"
    server.close()
    client.close()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    context.load_verify_locations(files.client.authorities)
    found = meet(
        lambda sock: TlsStream(sock, files.server.context()),
        lambda sock: TlsStream(sock, context, "127.0.0.1"),
    )
    assert all(isinstance(fault, NetworkFault) for fault in found)


def test_two_large_messages_cross(files):
    """With small socket buffers either side must read while it writes."""
    data = bytes(range(256)) * 40_000
    found = streams(files.server, files.client)
    channels = [Channel(TcpTransport(stream, 20)) for stream in found]
    got: list[Any] = [None, None]

    def side(i: int) -> None:
        for _ in range(3):
            channels[i].send(data)
        got[i] = [channels[i].recv(len(data)) == data for _ in range(3)]

    threads = [threading.Thread(target=side, args=(i,)) for i in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=20)
    assert got == [[True] * 3] * 2
    for channel in channels:
        channel.close()


def test_the_wire_shows_nothing(files):
    """What goes through a tap between the two holds none of the plaintext."""
    taps = [socket.socketpair() for _ in range(2)]  # server - tap, tap - client
    seen = bytearray()

    def forward(source: socket.socket, sink: socket.socket) -> None:
        while data := source.recv(1 << 16):
            seen.extend(data)
            sink.sendall(data)

    for pair in ((taps[0][1], taps[1][0]), (taps[1][0], taps[0][1])):
        threading.Thread(target=forward, args=pair, daemon=True).start()
    found: list[Any] = [None, None]

    def client() -> None:
        found[1] = TlsStream(taps[1][1], files.client.context(), "127.0.0.1")
        found[1].sendall(b"the secret of the client" * 10, Deadline(240, 20))

    thread = threading.Thread(target=client)
    thread.start()
    stream = TlsStream(taps[0][0], files.server.context())
    got = bytearray(240)
    at = 0
    while at < len(got):
        at += stream.recv_into(memoryview(got)[at:], Deadline(240, 20))
    thread.join(timeout=10)
    assert got == b"the secret of the client" * 10
    assert b"secret" not in seen
    assert len(seen) > len(got)


def test_an_untrusted_server_is_refused_by_both(files):
    server, client = streams(files.server, files.stranger)
    assert isinstance(client, NetworkFault)
    said = "the server's certificate is not accepted: it was issued by CN=authority, who is not trusted here"
    assert str(client).startswith(f"no TLS with the peer: {said}")
    assert isinstance(server, NetworkFault)
    assert "unknown ca" in str(server)


def test_the_name_of_the_server_is_checked(files):
    for tls, name in ((files.elsewhere, "127.0.0.1"), (files.server, "localhost")):
        _, client = streams(tls, files.client, name)
        assert isinstance(client, NetworkFault)
        assert "mismatch" in str(client)
        assert f"it is for {'example.org' if tls is files.elsewhere else '127.0.0.1'}" in str(client)
        assert "\n" not in str(client)


def test_an_expired_certificate_is_refused_with_its_date(files, monkeypatch):
    """By whoever holds it, before anything is sent, and by the peer of one who goes on nevertheless."""
    with pytest.raises(BadInput, match=f"server, expired on {NOW - DAY:%Y-%m-%d}"):
        files.expired.context()
    monkeypatch.setattr(Issued, "check", lambda self: None)
    _, client = streams(files.expired, files.client)
    assert isinstance(client, NetworkFault)
    assert f"it expired on {NOW - DAY:%Y-%m-%d}" in str(client)


def test_a_client_shows_who_it_is(files, named):
    server, client = streams(named.server, named.client)
    assert (server.peer, client.peer) == ("alice", "server")
    server.close()
    client.close()
    server, client = streams(files.server, files.client)
    assert server.peer is None
    server.close()
    client.close()


@pytest.mark.parametrize("why", ["nobody", "unknown", "expired", "a server's"])
def test_a_client_that_nobody_vouches_for_is_told_why(files, named, why, tmp_path, monkeypatch):
    monkeypatch.setattr(Issued, "check", lambda self: None)
    shown, said, told = {
        "nobody": (None, "peer did not return a certificate", "it wants one, and got none"),
        "unknown": (
            named.stranger,
            "issued by an authority that is not trusted here",
            "does not know the authority",
        ),
        "expired": (named.expired, "expired", "it has expired"),
        "a server's": (named.server, "unsuitable|unsupported", "issued for something else"),
    }[why]
    mine = ClientTls(named.client.authorities, *(shown.certificate, shown.key) if shown else ())
    server, client = streams(named.server, mine)
    assert isinstance(server, NetworkFault)
    assert re.search(said, str(server)), server
    assert isinstance(client, TlsStream)  # in TLS 1.3 it hears of it when it listens
    with pytest.raises(NetworkFault, match=f"does not accept this side's certificate: .*{told}"):
        Channel(TcpTransport(client, 5)).recv(4)
    client.close()


def test_a_client_without_tls_is_refused(files):
    server, client = meet(
        lambda sock: next(Server(tiny_plan(), tiny_weights(), tls=files.server).answer(sock)),
        lambda sock: infer(sock, tiny_plan(), tiny_feeds(), timeout=5),
    )
    assert isinstance(server, NetworkFault)
    assert "the client does not speak TLS; give it --tls-ca" in str(server)
    assert isinstance(client, PeerMismatch)
    assert str(client) == "the server speaks TLS, and this side does not: give --tls-ca"


def test_a_server_without_tls_is_refused(files):
    server, client = meet(
        lambda sock: serve_one(sock, tiny_plan(), tiny_weights(), timeout=5),
        lambda sock: TlsStream(sock, files.client.context(), "127.0.0.1"),
    )
    assert isinstance(server, PeerMismatch)
    assert "the client speaks TLS, and this side does not: give --tls-cert and --tls-key" in str(server)
    assert isinstance(client, NetworkFault)
    assert "the server closed the connection; does it use TLS, --tls-cert" in str(client)


def test_a_stranger_who_says_nothing_is_given_up(files):
    with socket.create_server(("127.0.0.1", 0)) as listener:
        quiet = socket.create_connection(listener.getsockname()[:2])
        with pytest.raises(NetworkFault, match=r"no handshake within 0\.2 seconds; does it use TLS"):
            TlsStream(listener.accept()[0], files.server.context(), timeout=0.2)
        quiet.close()


def test_a_peer_that_hangs_up_is_one_clear_fault(files):
    for farewell in (True, False):
        server, client = streams(files.server, files.client)
        if farewell:
            client.close()
        else:
            client._raw.close()
        with pytest.raises(NetworkFault, match="closed the connection"):
            Channel(TcpTransport(server, 5)).recv(4)
        server.close()


def test_changed_bytes_are_one_clear_fault(files):
    server, client = streams(files.server, files.client)
    client._raw.sock.sendall(b"\x17\x03\x03\x00\x20" + bytes(32))
    with pytest.raises(NetworkFault, match="broke"):
        Channel(TcpTransport(server, 5)).recv(4)
    client.close()
    server.close()


def test_wrong_files_are_one_clear_fault(files, tmp_path):
    locked = tmp_path / "locked.pem"
    locked.write_bytes(private(ec.generate_private_key(ec.SECP256R1()), b"a passphrase"))
    other = files.elsewhere
    for tls in (
        ServerTls(tmp_path / "missing.pem", files.server.key),
        ServerTls(files.server.certificate, other.key),
        ServerTls(files.server.key, files.server.key),
        ServerTls(files.server.certificate, locked),
        ClientTls(tmp_path / "missing.pem"),
        ClientTls(files.server.key),
    ):
        with pytest.raises(BadInput, match="PEM") as fault:
            tls.context()
        assert "\n" not in str(fault.value)
        assert ".c:" not in str(fault.value)
