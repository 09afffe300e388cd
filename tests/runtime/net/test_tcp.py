"""How two processes find each other."""

from __future__ import annotations

import select
import socket
import threading
import time

import pytest
from sides import told

from ppc.runtime.base.errors import NetworkFault
from ppc.runtime.net.address import Listener, shown
from ppc.runtime.net.tcp import connect


@pytest.fixture
def free() -> tuple[str, int]:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        return ("127.0.0.1", taken.getsockname()[1])


def test_who_waits_says_so_once_and_then_that_it_is_connected(free):
    def late() -> None:
        time.sleep(0.4)
        with socket.create_server(free) as listener:
            listener.accept()[0].close()

    thread = threading.Thread(target=late)
    with told() as said:
        thread.start()
        connect(free, 10).close()
    thread.join(timeout=10)
    where = f"127.0.0.1:{free[1]}"
    assert said == [f"waiting up to 10 seconds for a server at {where}", f"connected to {where}"]


def test_nobody_comes(free):
    with pytest.raises(
        NetworkFault, match=f"cannot reach a server at 127.0.0.1:{free[1]}: Connection refused"
    ):
        connect(free, 0)


@pytest.mark.parametrize(
    ("host", "called"),
    [
        ("127.0.0.1", ["127.0.0.1"]),
        ("::1", ["::1"]),
        ("::", ["::1", "127.0.0.1"]),
        ("both", ["::1", "127.0.0.1"]),
    ],
)
def test_a_listener_is_there_at_every_address_of_its_name(monkeypatch, host, called):
    """One port for all of them, whichever is called."""
    real = socket.getaddrinfo

    def found(name, port, *args, **options):
        names = ["::1", "127.0.0.1"] if name == "both" else [name]
        return [each for one in names for each in real(one, port, *args, **options)]

    monkeypatch.setattr(socket, "getaddrinfo", found)
    with Listener((host, 0)) as listener:
        port = listener.getsockname()[1]
        for near in called:
            with socket.create_connection((near, port), timeout=5) as client:
                assert select.select([listener], [], [], 5)[0]
                sock, peer = listener.take()
                assert peer[1] == client.getsockname()[1]
                sock.sendall(b"here")
                sock.close()
                assert client.recv(9) == b"here"


def test_a_client_finds_the_address_that_listens(monkeypatch):
    """Of a name that stands for several."""
    real = socket.getaddrinfo
    monkeypatch.setattr(
        socket, "getaddrinfo",
        lambda name, port, *rest: [each for one in ("::1", "127.0.0.1") for each in real(one, port, *rest)],
    )  # fmt: skip
    with socket.create_server(("127.0.0.1", 0)) as listener:
        connect(("both", listener.getsockname()[1]), 0).close()


@pytest.mark.parametrize(("host", "why"), [("127.0.0.1", "in use"), ("none.invalid", ""), ("192.0.2.1", "")])
def test_where_nobody_can_listen(host, why):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(NetworkFault, match=f"cannot listen on {host}:{port}: .*{why}"):
            Listener((host, port))


def test_an_address_as_it_is_written():
    assert shown(("127.0.0.1", 7766)) == "127.0.0.1:7766"
    assert shown(("::1", 7766, 0, 0)) == "[::1]:7766"
