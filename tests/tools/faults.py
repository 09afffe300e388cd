"""What tests/e2e/test_faults.py tries: faults by phase and side, what becomes of them, how it is told."""

from __future__ import annotations

import signal
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import mkdtemp
from typing import Literal

import numpy as np
from command import Done, Running, called
from relay import Then, dead, garbled, hung_up, trickling
from tiny import tiny_feeds, tiny_plan, tiny_weights

from ppc.runtime.party.ledger import PHASES
from ppc.runtime.party.role import Role
from ppc.runtime.service.client import Client
from ppc.runtime.service.options import SessionOptions
from ppc.runtime.session.connection import Program, predict_cost
from ppc.runtime.session.engines import Ready
from ppc.runtime.session.simulate import simulate

TIMEOUT = 3
SECONDS = 15
"""In which both sides have ended: silence is given up after `TIMEOUT`, what trickles soon after."""

Side = Literal["client", "server"]

PHASES_OF = ("opening", "setup", "offline", "online", "second", "preparing", "ahead")


@dataclass(frozen=True)
class Fault:
    """What ``side`` does, or suffers; ``status`` is the client's then, unless it has its answer already."""

    name: str
    side: Side
    how: Then | signal.Signals
    status: int = 5

    def at(self, phase: str) -> int:
        return self.status if phase != "ahead" or self.status < 0 else 0

    @property
    def harms_all(self) -> bool:
        """Whether it is the whole service that is gone."""
        return self.side == "server" and isinstance(self.how, signal.Signals)


FAULTS = (
    Fault("dies (kill -9)", "client", signal.SIGKILL, -signal.SIGKILL),
    Fault("dies (kill -9)", "server", signal.SIGKILL),
    Fault("stalls (SIGSTOP)", "client", signal.SIGSTOP),
    Fault("stalls (SIGSTOP)", "server", signal.SIGSTOP),
    Fault("is hung up on", "client", hung_up),
    Fault("is hung up on", "server", hung_up),
    Fault("goes silent, the connection half open", "client", dead),
    Fault("goes silent, the connection half open", "server", dead),
    Fault("sends garbage", "client", garbled),
    Fault("sends garbage", "server", garbled, 4),
    Fault("trickles", "client", trickling),
    Fault("trickles", "server", trickling),
)


def limit(phase: str, sender: Side) -> int:
    """Bytes after which a phase of the client's first program on a connection is under way."""
    first = predict_cost(tiny_plan(), Program(preparations=phase == "preparing"))
    said: dict[str, int] = {name: getattr(first.total(name), sender) for name in PHASES}
    setup, offline, online = (said[name] for name in PHASES)
    asks, makes = (
        sum(getattr(predict_cost(tiny_plan(), each).total(name), sender) for name in PHASES)
        for each in (_further(), _further(preparations=1))
    )
    places: dict[str, int] = {
        "opening": 20,
        "setup": (3 * setup) // 4,
        "offline": setup + offline // 2,
        "online": setup + offline + online // 2,
        "second": setup + offline + online + asks // 2,
        "preparing": setup + offline // 2,
        "ahead": setup + offline + online + makes // 2,
    }
    return places[phase]


def _further(preparations: int = 0) -> Program:
    keys = frozenset(each.params for each in tiny_plan().products)
    return Program(preparations=preparations, further=True, ready=Ready(frozenset(Role), keys))


@dataclass(frozen=True)
class Place:
    """A service, its address, and where its numbers are."""

    folder: Path
    server: Running
    address: str
    status: str

    @property
    def connections(self) -> int:
        numbers = urllib.request.urlopen(f"{self.status}/metrics", timeout=10).read().decode()
        return int(numbers.partition("\nppc_connections ")[2].split()[0])

    def asks(self, phase: str, through: str, *more: object) -> Running:
        """A client whose connection goes through the wire."""
        at = ("--role", "client", "--connect", through, "--timeout", TIMEOUT, *more)
        plan = self.folder / "plan.bin"
        if phase == "preparing":
            return Running("prepare", plan, *at, "--store", self.folder / "store")
        given = "many.npz" if phase == "second" else "in.npz"
        own = ("--ahead", 9, "--store", mkdtemp(dir=self.folder)) if phase == "ahead" else ("--fresh",)
        return Running("run", plan, *at, *own, "--json", "--input", self.folder / given)

    def answers_another(self) -> None:
        host, _, port = self.address.rpartition(":")
        found = Client(tiny_plan(), SessionOptions(timeout=20), go_on=False).run(
            tiny_feeds(), (host, int(port))
        )
        expected = simulate(tiny_plan(), tiny_weights(), tiny_feeds())[tiny_plan().outputs[0].value]
        assert found.outputs is not None
        assert np.abs(found.outputs["y"] - expected).max() < 0.15 * np.abs(expected).max()


@contextmanager
def served(folder: Path, *more: object, prepare: int = 99) -> Iterator[Place]:
    words = ("--listen", "127.0.0.1:0", "--status", "127.0.0.1:0", "--timeout", TIMEOUT)
    server = Running("serve", folder / "plan.bin", "--prepare", prepare, *words, *more)
    try:
        status = server.said(r"status on (http://127\.0\.0\.1:\d+)")[1]
        yield Place(folder, server, server.said(r"serving .* on (127\.0\.0\.1:\d+)")[1], status)
        if server.process.poll() is None:
            server.process.send_signal(signal.SIGTERM)
            ended = server.end(30)
            assert ended.status == 0, ended.err
            assert "Traceback" not in ended.err
    finally:
        server.kill()


@dataclass(frozen=True)
class Wrong:
    """What is not as it should be; how the client then ends, and what it says."""

    name: str
    side: Side
    client: tuple[str, ...]
    status: int
    said: str
    verb: str = "run"


def shown(name: str, authority: str = "keys", trusts: str = "keys") -> tuple[str, ...]:
    return (
        *("--tls-cert", f"{authority}/{name}.pem", "--tls-key", f"{authority}/{name}.key"),
        *("--tls-ca", f"{trusts}/ca.pem"),
    )


ALICE = shown("alice")

WRONG = (
    Wrong("shows a certificate that has expired", "client", shown("late"), 2, "late, expired on"),
    Wrong(
        "shows a certificate of another authority",
        "client",
        shown("mallory", "other"),
        5,
        "not know the auth",
    ),
    Wrong("shows no certificate", "client", ("--tls-ca", "keys/ca.pem"), 5, "wants one, and got none"),
    Wrong("speaks no TLS", "client", (), 4, "the server speaks TLS, and this side does not"),
    Wrong("trusts another authority", "client", shown("alice", trusts="other"), 5, "who is not trusted here"),
    Wrong("is not on the list", "client", shown("eve"), 5, "not have this client on its list"),
    Wrong("has had its inferences of the day", "client", shown("spent"), 5, "the next begins in"),
    Wrong("holds another plan", "client", (*ALICE, "other.bin"), 4, "plans differ"),
    Wrong("checks OTs, the server does not", "client", (*ALICE, "--check-ot"), 4, "--check-ot"),
    Wrong("prepares beyond its level", "client", (*ALICE, "--store", "full"), 5, "already; use", "prepare"),
)

DISKS = (
    ("preparing", "client", 2, "full disk|too large|cannot be written"),
    ("preparing", "server", 5, "closed the connection|broke"),
    ("offline", "client", 2, "beyond --memory cannot be written"),
    ("offline", "server", 5, "closed the connection|broke"),
)
"""Phase and side whose disk is full, and how the client ends."""


def asked(place: Place, verb: str, words: tuple[str, ...]) -> Done:
    """A client whose files are the folder's."""
    files = [place.folder / each if "/" in each or "." in each or each == "full" else each for each in words]
    plan = files.pop() if words and words[-1] == "other.bin" else place.folder / "plan.bin"
    return called(verb, plan, "--role", "client", "--connect", place.address, "--timeout", TIMEOUT, *files)


HEAD = f"""# Faults

What becomes of a fault: how each kind ends the two sides, by the phase in which it comes, of a connection's
first inference, of a second one, of a preparation. `tests/e2e/test_faults.py` has written this page and tries
each cell, with processes and a wire that fails at a chosen byte; sides are given `--timeout {TIMEOUT}`.

In every cell both sides have ended within {SECONDS} s: the server has let the connection go, and the
client has said in one line what was wrong; no log has a traceback. Where the service lives on, another
client that asks at that moment gets its answer. Who prepares ahead has its own already, and ends with 0. What
was under way is lost, and with it the setup of its connection; what both sides hold prepared is not.

Numbers are the client's exit status ([what they mean](commands.md#what-holds-for-every-command)).

"""

TITLES = {
    "opening": "handshake",
    "setup": "setup",
    "offline": "offline",
    "online": "online",
    "second": "a second inference",
    "preparing": "preparing",
    "ahead": "preparing ahead",
}


def markdown() -> str:
    """docs/faults.md."""
    rows: list[tuple[str, ...]] = [("side", "which", *TITLES.values())]
    rows += [(each.side, each.name, *(_told(each.at(phase)) for phase in PHASES_OF)) for each in FAULTS]
    wrong: list[tuple[str, ...]] = [("what is wrong from the start", "client ends with")]
    wrong += [(f"the client {each.name}", str(each.status)) for each in WRONG]
    disks: list[tuple[str, ...]] = [("whose disk is full", "while", "client ends with")]
    disks += [(side, TITLES[phase], str(status)) for phase, side, status, _ in DISKS]
    tables = "\n\n".join("\n".join(_table(each)) for each in (rows, wrong, disks))
    return HEAD + tables + "\n\n" + TAIL


TAIL = """A server whose own certificate has expired does not start (2); one that is told to load it keeps
what it has. A limit on the size of files stands for a full disk.
"""


def _told(status: int) -> str:
    return "killed" if status < 0 else str(status)


def _table(rows: list[tuple[str, ...]]) -> Iterator[str]:
    head, *others = rows
    for row in (head, ("---",) * len(head), *others):
        yield f"| {' | '.join(row)} |"
