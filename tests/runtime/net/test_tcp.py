"""How two processes find each other."""

from __future__ import annotations

import socket
import threading
import time

import pytest
from sides import told

from ppc.runtime.base.errors import NetworkFault
from ppc.runtime.net.tcp import connect, shown


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


def test_an_address_as_it_is_written():
    assert shown(("127.0.0.1", 7766)) == "127.0.0.1:7766"
    assert shown(("::1", 7766, 0, 0)) == "[::1]:7766"
