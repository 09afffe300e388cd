"""One side of a session over a connected socket, for one inference or preparation."""

from __future__ import annotations

import logging
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

from numpy.typing import ArrayLike

from ppc.runtime.net.network import Network
from ppc.runtime.net.stream import Stream
from ppc.runtime.party.role import CLIENT, SERVER
from ppc.runtime.plan.file import Plan, Weights
from ppc.runtime.service.options import SessionOptions
from ppc.runtime.service.report import Outcome, Report
from ppc.runtime.service.server import Server
from ppc.runtime.service.serving import Service
from ppc.runtime.service.session import Session
from ppc.runtime.session.inputs import ClientInput
from ppc.runtime.session.material import Store


def serve_one(
    sock: socket.socket | Stream,
    plan: Plan,
    weights: Weights,
    *,
    store: Store | None = None,
    timeout: float = 600.0,
    shape: Network | None = None,
) -> Outcome:
    """The server's side of one inference."""
    options = SessionOptions(timeout=timeout, shape=shape)
    with Session(SERVER, sock, plan, weights=weights, store=store, options=options) as session:
        return session.infer()


def infer(
    sock: socket.socket | Stream,
    plan: Plan,
    feeds: Mapping[str, ArrayLike],
    *,
    store: Store | None = None,
    timeout: float = 600.0,
    shape: Network | None = None,
) -> Outcome:
    """The client's side."""
    options = SessionOptions(timeout=timeout, shape=shape)
    with Session(CLIENT, sock, plan, store=store, options=options) as session:
        return session.infer(ClientInput.of(plan, feeds))


def prepare(
    sock: socket.socket | Stream,
    plan: Plan,
    store: Store,
    count: int,
    weights: Weights | None = None,
    timeout: float = 600.0,
) -> Outcome:
    """One side's setup and ``count`` offline phases, left in ``store``."""
    role, options = store.binding.role, SessionOptions(timeout=timeout)
    with Session(role, sock, plan, weights=weights, store=store, options=options) as session:
        return session.prepare(count)


def eventually(what: Callable[[], object], seconds: float = 10) -> None:
    """It holds soon."""
    until = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < until
        time.sleep(0.002)


@contextmanager
def told(thread: str = "") -> Iterator[list[str]]:
    """What the program logs while this is open, line by line; of one thread where it is named."""
    lines: list[str] = []

    class Collect(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            if thread in ("", record.threadName):
                lines.append(record.getMessage())

    logger, handler = logging.getLogger("ppc"), Collect()
    level = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    try:
        yield lines
    finally:
        logger.removeHandler(handler)
        logger.setLevel(level)


@contextmanager
def running(service: Service) -> Iterator[tuple[tuple[str, int], list[str]]]:
    """A service in a thread, on a free port: its address, and what is logged from then on. It is stopped."""
    with told() as lines:
        thread = threading.Thread(target=service.run, args=(("127.0.0.1", 0),), daemon=True)
        thread.start()
        yield _address(thread, lines), lines
        service.stop()
        thread.join(timeout=60)
        assert not thread.is_alive(), "the service still runs"


def _address(thread: threading.Thread, lines: list[str]) -> tuple[str, int]:
    """Where the log says that the thread listens."""
    until = time.monotonic() + 20
    while not lines:
        assert thread.is_alive(), "the server ended early"
        assert time.monotonic() < until, "the server does not listen"
        time.sleep(0.005)
    host, _, port = lines[0].rsplit(" ", 1)[1].rpartition(":")
    return host, int(port)


@contextmanager
def serving_here(
    server: Server, *, once: bool = True, done: Callable[[Report], None] = lambda report: None
) -> Iterator[tuple[tuple[str, int], list[str]]]:
    """A server in a thread, on a free port: its address, and what is logged from then on."""
    with told() as lines:
        thread = threading.Thread(
            target=server.serve, args=(("127.0.0.1", 0),), kwargs={"once": once, "done": done}, daemon=True
        )
        thread.start()
        yield _address(thread, lines), lines
        if once:
            thread.join(timeout=60)
            assert not thread.is_alive(), "the server still runs"
