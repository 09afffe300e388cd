"""A service under many clients: every answer right, nothing prepared used twice, strangers harm nobody."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from sides import eventually, running, told
from tiny import tiny_feeds, tiny_plan, tiny_weights

from ppc.runtime.base.errors import BadInput, BadPlan, NetworkFault, PeerMismatch, PeerRefuses
from ppc.runtime.net.frame import HEADER
from ppc.runtime.plan.file import Plan
from ppc.runtime.service.client import Client
from ppc.runtime.service.gate import Limits
from ppc.runtime.service.offer import Offer
from ppc.runtime.service.options import SessionOptions
from ppc.runtime.service.report import Outcome
from ppc.runtime.service.server import Server
from ppc.runtime.service.serving import Goods, Service
from ppc.runtime.service.status import Status
from ppc.runtime.session.facts import facts
from ppc.runtime.session.handshake import ASK, GO_ON, HELLO, MAGIC, VERSION
from ppc.runtime.session.simulate import simulate

PATIENT = SessionOptions(timeout=20)
LIMITS = Limits(at_once=4, share=64)


def offer(plan: Plan | None = None, store: Path | None = None) -> Offer:
    return Offer(plan or tiny_plan(), tiny_weights(), store=store, check_ot=False)


def service(*offers: Offer, limits: Limits = LIMITS, preparations: int = 0) -> Service:
    return Service(lambda: Goods(offers or (offer(),)), PATIENT, limits, preparations=preparations)


def feeds(i: int) -> dict[str, np.ndarray]:
    """Three inputs in turn, whose answers lie far apart, and whose values do not come near to their rings."""
    return {"ids": (tiny_feeds()["ids"] + 2 * (i % 3)) % 11}


def right(outcome: Outcome, i: int, plan: Plan | None = None) -> bool:
    plan = plan or tiny_plan()
    expected = simulate(plan, tiny_weights(), feeds(i))[plan.outputs[0].value]
    return bool(np.abs(outcome.outputs["y"] - expected).max() < 0.15 * np.abs(expected).max())


def ask(address: tuple[str, int], i: int = 0, **more: Path) -> Outcome:
    """Once: who is refused does not come again by itself."""
    return Client(tiny_plan(), PATIENT, patience=0, **more).run(feeds(i), address)


def together(count: int, what: Callable[[int], object]) -> list[object]:
    with ThreadPoolExecutor(count) as pool:
        return list(pool.map(what, range(count)))


@pytest.mark.long
def test_several_clients_together_each_get_their_answer():
    made = service(limits=replace(LIMITS, at_once=3))
    most: list[int] = []
    real = made._host.gate._fits
    made._host.gate._fits = lambda ticket: most.append(made._host.gate.running) or real(ticket)
    with running(made) as (address, said):
        outcomes = together(8, lambda i: ask(address, i))
        assert all(right(outcome, i) for i, outcome in enumerate(outcomes))
        assert sum("answered" in line for line in said) == 8
        assert any("number" in line for line in said), "somebody has waited, and was told"
    assert max(most) == 3
    assert "ppc_inferences_total{plan=" in made.metrics.text()


def test_a_client_gets_the_plan_that_it_holds():
    other = tiny_plan("other")
    with running(service(offer(), offer(other))) as (address, _):
        for plan in (tiny_plan(), other):
            outcome = Client(plan, PATIENT).run(feeds(1), address)
            assert outcome.report["plan"] == plan.hash
            assert right(outcome, 1, plan)
        with pytest.raises(PeerMismatch, match="plans differ"):
            Client(tiny_plan("a third"), PATIENT).run(feeds(1), address)


@pytest.mark.long
def test_nothing_prepared_is_used_twice(tmp_path):
    """Several clients hold the same store, as no honest ones would, and ask at the same time."""
    shelf = offer(store=tmp_path / "server")
    with running(service(shelf, preparations=4)) as (address, _):
        made = Client(tiny_plan(), PATIENT, store=tmp_path / "client").prepare(9, address)
        assert len(made.material) == 4, "no more than may be prepared in one go"
        eventually(lambda: shelf.level == 4)  # the last half of the server's may be a moment behind
        outcomes = together(6, lambda i: ask(address, i, store=tmp_path / "client"))
    used = [id for outcome in outcomes for id in outcome.material]
    assert len(used) == len(set(used))
    assert set(used) <= set(made.material)
    assert all(right(outcome, i) for i, outcome in enumerate(outcomes))
    assert shelf.level == 4 - len(used)


def test_who_may_prepare_nothing_is_told(tmp_path):
    with running(service()) as (address, _), pytest.raises(PeerMismatch, match="the peer `ppc run`"):
        Client(tiny_plan(), PATIENT, store=tmp_path / "client").prepare(1, address)


# ---- strangers


def garbage(sock: socket.socket, stop: threading.Event) -> None:
    while not stop.wait(0.02):
        sock.sendall(b"GET / HTTP/1.1\r\n\r\n")


def trickling(sock: socket.socket, stop: threading.Event) -> None:
    hello = HELLO.pack(MAGIC, VERSION, bytes.fromhex(tiny_plan().hash), facts(tiny_plan()).digest)
    asked = ASK.size + GO_ON.size
    begins = HEADER.pack(HELLO.size, 0) + hello + HEADER.pack(asked, 1) + bytes(asked)
    for byte in begins:
        sock.sendall(bytes([byte]))
        if stop.wait(0.02):
            return


def silent(sock: socket.socket, stop: threading.Event) -> None:
    stop.wait()


@contextlib.contextmanager
def beside(kind: Callable[..., None], address: tuple[str, int], count: int) -> Iterator[None]:
    """``count`` strangers of one kind, until this is closed."""
    stop, socks = threading.Event(), [socket.create_connection(address) for _ in range(count)]

    def play(sock: socket.socket) -> None:
        with contextlib.suppress(OSError):
            kind(sock, stop)

    threads = [threading.Thread(target=play, args=(sock,), daemon=True) for sock in socks]
    for thread in threads:
        thread.start()
    yield
    stop.set()
    for thread, sock in zip(threads, socks, strict=True):
        thread.join()
        sock.close()


@pytest.mark.long
@pytest.mark.parametrize("kind", [silent, trickling, garbage])
def test_strangers_cost_the_others_nothing(kind, monkeypatch):
    """Three times as many as compute at once; they are gone when their opening is over."""
    monkeypatch.setattr("ppc.runtime.service.session.OPENING_SECONDS", 2.0)
    made = service()
    with running(made) as (address, _said):
        begun = time.monotonic()
        ask(address)
        alone = time.monotonic() - begun
        with beside(kind, address, 3 * LIMITS.at_once):
            begun = time.monotonic()
            assert right(ask(address, 1), 1)
            assert time.monotonic() - begun < 3 * alone + 1
            eventually(lambda: not made._host.connections)
    assert made.metrics.text().count("ppc_faults_total{") >= 1


def test_one_client_does_not_take_all_connections(monkeypatch):
    monkeypatch.setattr("ppc.runtime.service.host.PARTING_SECONDS", 0.2)
    made = service(limits=Limits(share=2))
    with running(made) as (address, _), beside(silent, address, 2):
        with pytest.raises(PeerRefuses, match=r"busy and takes no more clients; come again in \d+ s"):
            ask(address)
        eventually(lambda: 'ppc_refusals_total{reason="share"} 1' in made.metrics.text())
    assert not made._host._parting


def test_a_system_without_threads_left_is_busy(monkeypatch):
    made = service()
    real = threading.Thread.start

    def start(thread: threading.Thread) -> None:
        if thread.name == "ppc-client":
            raise RuntimeError("can't start new thread")
        real(thread)

    with running(made) as (address, _):
        with monkeypatch.context() as without:
            without.setattr(threading.Thread, "start", start)
            with pytest.raises(PeerRefuses, match=r"come again in \d+ s"):
                ask(address)
        assert right(ask(address), 0)
    eventually(lambda: 'ppc_refusals_total{reason="threads"} 1' in made.metrics.text())


def test_who_is_one_too_many_is_told_when_to_come_again():
    made = service(limits=Limits(at_once=1, waiting=0, share=64))
    with running(made) as (address, _), made._host.gate.turn("somebody", 0):
        with pytest.raises(PeerRefuses, match=r"come again in \d+ s"):
            ask(address)
        eventually(lambda: 'ppc_refusals_total{reason="busy"} 1' in made.metrics.text())


@pytest.mark.long
def test_a_short_timeout_does_with_a_server_that_is_busy(monkeypatch):
    """A client that waits for its turn hears that the server is alive, and the server that it is."""
    monkeypatch.setattr("ppc.runtime.net.tcp.BEAT_SECONDS", 0.05)
    short = SessionOptions(timeout=1)
    made = Service(lambda: Goods((offer(),)), short, Limits(at_once=1))
    with running(made) as (address, _), ThreadPoolExecutor(1) as pool:
        with made._host.gate.turn("somebody", 0):
            waits = pool.submit(Client(tiny_plan(), short).run, feeds(1), address)
            time.sleep(3)
            assert not waits.done()
        assert right(waits.result(timeout=20), 1)


@pytest.mark.long
@pytest.mark.parametrize("kind", [silent, garbage])
def test_a_server_that_waits_to_prepare_survives_strangers(kind, tmp_path):
    server = Server(tiny_plan(), tiny_weights(), PATIENT, store=tmp_path / "server")
    with told() as lines, ThreadPoolExecutor(1) as pool:
        prepared = pool.submit(server.prepare, 2, ("127.0.0.1", 0))
        eventually(lambda: lines)
        host, _, port = lines[0].rsplit(" ", 1)[1].rpartition(":")
        address = host, int(port)
        with beside(kind, address, 2):
            if kind is garbage:
                eventually(lambda: sum("failed" in line for line in lines) == 2)
            made = Client(tiny_plan(), PATIENT, store=tmp_path / "client").prepare(3, address)
        assert prepared.result(timeout=20).material == made.material


# ---- its end, and its change


def test_when_it_stops_what_runs_ends_well_and_who_waits_is_told():
    made = service(limits=Limits(at_once=1, share=64))
    with running(made) as (address, _said), ThreadPoolExecutor(2) as pool:
        with made._host.gate.turn("somebody", 0), socket.create_connection(address):
            waits = pool.submit(ask, address)
            eventually(lambda: made._host.gate.waiting)
            made.stop()
            with pytest.raises(PeerRefuses, match="the server stops"):
                waits.result(timeout=10)
        assert not made.ready


@pytest.mark.long
def test_what_runs_when_it_stops_ends_well():
    made = service()
    with running(made) as (address, _said), ThreadPoolExecutor(1) as pool:
        runs = pool.submit(ask, address, 3)
        eventually(lambda: made._host.gate.running)
        made.stop()
        assert right(runs.result(timeout=20), 3)
        with pytest.raises(NetworkFault):
            Client(tiny_plan(), PATIENT, patience=0).run(feeds(0), address)


def test_what_is_loaded_anew_holds_for_who_comes_then():
    first, second = Goods((offer(),)), Goods((offer(tiny_plan("second")),))
    given: list[Goods | BadPlan] = [first, BadPlan("damaged"), second]

    def load() -> Goods:
        goods = given.pop(0)
        if isinstance(goods, BadPlan):
            raise goods
        return goods

    made = Service(load, PATIENT, LIMITS)
    with running(made) as (address, said):
        made.reload()
        assert any("nothing is loaded anew: damaged" in line for line in said)
        assert right(ask(address), 0)
        made.reload()
        with pytest.raises(PeerMismatch, match="plans differ"):
            ask(address)
        Client(tiny_plan("second"), PATIENT).run(feeds(0), address)


def test_a_plan_that_no_memory_holds_is_refused_at_once():
    need = facts(tiny_plan()).memory()
    service(limits=Limits(memory=need))
    with pytest.raises(BadInput, match=r"holds up to (\d+) MB, more than the \1 MB .* raise --memory"):
        service(limits=Limits(memory=need - 1))


# ---- what operators see


def got(address: tuple[str, int], path: str) -> tuple[int, str]:
    try:
        with urllib.request.urlopen(f"http://{address[0]}:{address[1]}{path}", timeout=10) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


def test_health_and_numbers_over_http():
    made = service()
    with (
        Status(("127.0.0.1", 0), made.metrics.text, lambda: made.ready) as status,
        running(made) as (address, _),
    ):
        assert got(status.address, "/healthz") == (200, "alive\n")
        assert got(status.address, "/readyz") == (200, "ready\n")
        assert got(status.address, "/")[0] == 404
        outcome = ask(address)
        eventually(lambda: not made._host.gate.running)
        text = got(status.address, "/metrics")[1]
        assert f'ppc_inferences_total{{plan="{tiny_plan().hash[:12]}"}} 1\n' in text
        sent = outcome.report["online"]["received"]
        assert f'ppc_sent_bytes_total{{phase="online"}} {sent}\n' in text
        for line in text.splitlines():
            assert line.startswith("# ") or len(line.rsplit(" ", 1)) == 2
        made.stop()
        assert got(status.address, "/readyz") == (503, "not ready\n")


def test_a_status_port_that_is_taken_is_one_line():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(NetworkFault, match=f"cannot listen on 127.0.0.1:{port}"):
            Status(("127.0.0.1", port), service().metrics.text, lambda: True)
