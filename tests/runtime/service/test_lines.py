"""What a client keeps open, what it tries again, and what it does not; beside an event loop too."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest
from relay import Relay
from sides import eventually, running
from test_going_on import paid_setup, right
from tiny import tiny_feeds, tiny_plan, tiny_weights

import ppc
from ppc.runtime.base.errors import BadInput, NetworkFault, PeerMismatch, PeerRefuses
from ppc.runtime.service.client import Client
from ppc.runtime.service.gate import Limits
from ppc.runtime.service.lines import Line, Lines
from ppc.runtime.service.offer import Offer
from ppc.runtime.service.options import SessionOptions
from ppc.runtime.service.report import Outcome
from ppc.runtime.service.serving import Goods, Service
from ppc.runtime.service.session import Session

PATIENT = SessionOptions(timeout=20)
Address = tuple[str, int]


def service(options: SessionOptions = PATIENT, store: Path | None = None, **limits: int) -> Service:
    offer = Offer(tiny_plan(), tiny_weights(), store=store, check_ot=False)
    return Service(lambda: Goods((offer,)), options, Limits(**limits), preparations=4 if store else 0)


@contextmanager
def served(made: Service) -> Iterator[tuple[Address, Callable[[], int]]]:
    """Where it is, and how many connections it has had."""
    with running(made) as (address, said):
        yield address, lambda: sum("connected, for plan" in line for line in said)


def test_one_connection_from_call_to_call_until_the_end():
    made = service()
    with served(made) as (address, connections):
        with Client(tiny_plan(), PATIENT, address=address) as client:
            asked = [client.run(tiny_feeds()), client.run(tiny_feeds())]
            asked += client.run_all([tiny_feeds()] * 2)
            assert made._host.connections == 1
        eventually(lambda: not made._host.connections)
        assert connections() == 1
        asked.append(client.run(tiny_feeds()))
        assert connections() == 2
    assert [paid_setup(each) for each in asked] == [True, False, False, False, False], "the last went on"
    assert all(right(each) for each in asked)


def test_it_stays_open_to_the_end_of_the_outermost():
    made = service()
    with served(made) as (address, _), Client(tiny_plan(), PATIENT, address=address) as client:
        with client:
            client.run(tiny_feeds())
        assert made._host.connections == 1


@pytest.mark.long
def test_what_is_prepared_on_the_kept_connection_is_used_on_it(tmp_path):
    made = service(store=tmp_path / "server")
    with served(made) as (address, connections):
        with Client(tiny_plan(), PATIENT, address=address, store=tmp_path / "client") as client:
            client.run(tiny_feeds())
            ids = client.prepare(2).material
            used = [client.run(tiny_feeds()).material for _ in range(3)]
        assert connections() == 1
    assert sorted(id for each in used for id in each) == sorted(ids)


@pytest.mark.long
def test_calls_at_the_same_time_have_a_connection_each():
    with served(service()) as (address, connections):
        with Client(tiny_plan(), PATIENT, address=address) as client, ThreadPoolExecutor(3) as pool:
            asked = list(pool.map(lambda _: client.run(tiny_feeds()), range(9)))
        assert all(right(each) for each in asked)
        assert 1 <= connections() <= 3


@pytest.mark.long
def test_a_server_that_has_hung_up_meanwhile_is_called_again():
    made = service(SessionOptions(timeout=20, idle=0.2))
    with served(made) as (address, connections):
        with Client(tiny_plan(), PATIENT, address=address) as client:
            client.run(tiny_feeds())
            eventually(lambda: not made._host.connections)
            again = client.run(tiny_feeds())
        assert connections() == 2
    assert right(again)
    assert not paid_setup(again)


@pytest.mark.long
def test_also_where_that_shows_only_when_it_does_not_answer(monkeypatch):
    monkeypatch.setattr(Session, "connected", True)
    made = service(SessionOptions(timeout=20, idle=0.2))
    with served(made) as (address, connections):
        with Client(tiny_plan(), PATIENT, address=address) as client:
            client.run(tiny_feeds())
            eventually(lambda: not made._host.connections)
            assert right(client.run(tiny_feeds()))
        assert connections() == 2


@pytest.mark.long
def test_a_busy_server_is_asked_again_when_it_said():
    made = service(at_once=1, waiting=0)
    made._host.gate._lasts = 1.0  # so that one is to come again in a second
    with served(made) as (address, _), ThreadPoolExecutor(1) as pool:
        with made._host.gate.turn("somebody", 0):
            waits = pool.submit(Client(tiny_plan(), PATIENT, address=address).run, tiny_feeds())
            eventually(lambda: 'ppc_refusals_total{reason="busy"}' in made.metrics.text())
        assert right(waits.result(timeout=20))


@pytest.mark.parametrize("patience", [0.0, 0.5])
def test_but_not_beyond_its_patience(patience):
    made = service(at_once=1, waiting=0)
    with served(made) as (address, _), made._host.gate.turn("somebody", 0):
        begun = time.monotonic()
        with pytest.raises(PeerRefuses, match="come again in 10 s"):
            Client(tiny_plan(), PATIENT, address=address, patience=patience).run(tiny_feeds())
        assert time.monotonic() - begun < 5


@pytest.mark.long
@pytest.mark.parametrize("limit", [1_500, 3_000])
def test_an_inference_that_has_begun_is_not_asked_for_again(limit, tmp_path):
    """After so many bytes of the second; what was prepared for it is gone, and the third is right."""
    made = service(store=tmp_path / "server")
    with served(made) as (address, connections):
        host, port = address
        client = Client(tiny_plan(), PATIENT, store=tmp_path / "client")
        client.prepare(1, address)
        first = connections()
        cut = Relay(f"{host}:{port}", limit)
        threading.Thread(target=lambda: cut.reached.wait(20) and cut.close(), daemon=True).start()
        with client:
            with pytest.raises(NetworkFault):
                client.run(tiny_feeds(), cut.address)
            assert connections() == first + 1
            assert right(third := client.run(tiny_feeds(), address))
        assert not third.material


class Stub:
    """A session, as far as a line asks it."""

    def __init__(self, begins: bool) -> None:
        self.begins, self.heard, self.sound, self.ran = begins, 0, True, None


BUSY = PeerRefuses("busy", again=0)
GONE = NetworkFault("gone")


@pytest.mark.parametrize(
    ("begins", "carries", "faults", "opened"),
    [
        (True, False, [BUSY], 2),
        (True, False, [BUSY, BUSY], 3),
        (True, False, [PeerRefuses("not on the list")], None),
        (True, False, [PeerRefuses("later", again=99)], None),
        (True, False, [GONE], None),
        (False, False, [GONE], 2),
        (False, False, [PeerMismatch("other plan")], None),
        (True, True, [BUSY], 2),
        (True, True, [None, BUSY], None),
        (False, True, [None, GONE], None),
        (False, False, [None, GONE], None),
        (False, False, [None, BUSY], 2),
    ],
)
def test_what_is_tried_again(begins, carries, faults, opened, monkeypatch):
    """Sessions opened until all that was asked for has come; None where a fault is raised."""
    lines = Lines(tiny_plan(), PATIENT, patience=5, context=None, go_on=True)
    stubs: list[Stub] = []
    monkeypatch.setattr(lines, "open", lambda *_: stubs.append(Stub(begins)) or stubs[-1])
    monkeypatch.setattr(lines, "give_back", lambda *_: None)
    left = list(faults)

    def what(session: Stub) -> str:
        if left and (fault := left.pop(0)) is not None:
            raise fault
        return "answer"

    line = Line(lines, ("host", 1), None, carries=carries)
    if opened is None:
        with pytest.raises(type(faults[-1]), match=str(faults[-1])):
            _ = [line.ask(what) for _ in range(2)]
    else:
        assert [line.ask(what) for _ in range(2)] == ["answer"] * 2
        assert len(stubs) == opened


def test_nothing_is_tried_again_once_the_server_has_answered(monkeypatch):
    lines = Lines(tiny_plan(), PATIENT, patience=5, context=None, go_on=True)
    stub = Stub(begins=False)
    monkeypatch.setattr(lines, "open", lambda *_: stub)

    def what(session: Stub) -> None:
        session.heard += 1
        raise GONE

    with pytest.raises(NetworkFault):
        Line(lines, ("host", 1), None).ask(what)


# ---- beside an event loop


@pytest.mark.long
def test_the_same_beside_an_event_loop(tmp_path):
    made = service(store=tmp_path / "server")

    async def all_of_it(address: Address) -> list[Outcome]:
        async with Client(tiny_plan(), PATIENT, address=address, store=tmp_path / "client") as client:
            found = [await client.run_async(tiny_feeds())]
            found += [each async for each in client.run_all_async([tiny_feeds()] * 2)]
            assert len((await client.prepare_async(1)).material) == 1
            return found

    with served(made) as (address, connections):
        asked = asyncio.run(all_of_it(address))
        assert connections() == 1
    assert all(right(each) for each in asked)
    assert [paid_setup(each) for each in asked] == [True, False, False]


def test_a_bad_sample_is_raised_there_too():
    async def ask() -> None:
        async for _ in Client(tiny_plan()).run_all_async([{}]):
            pass

    with pytest.raises(BadInput, match="ids"):
        asyncio.run(ask())


def test_who_takes_no_more_hangs_up():
    made = service()

    async def first(address: Address) -> Outcome:
        every = Client(tiny_plan(), PATIENT, address=address).run_all_async([tiny_feeds()] * 9)
        found = await anext(every)
        await every.aclose()
        return found

    with served(made) as (address, _):
        assert right(asyncio.run(first(address)))
        eventually(lambda: not made._host.connections)


@pytest.mark.long
def test_tokens_come_beside_an_event_loop(decoder):
    prompt = [1, 2, 3]

    async def tokens(address: Address) -> list[int]:
        client = ppc.Client(decoder.compiled.plan, address=address)
        return [token async for token, _ in client.generate_async(prompt, 3)]

    with ppc.Server(decoder.compiled.plan, decoder.compiled.weights).start("127.0.0.1:0") as running_:
        assert asyncio.run(tokens(running_.address)) == decoder.greedy(prompt, 3)


# ---- progress


def test_progress_is_told():
    told: list[tuple[str, int, int]] = []
    with served(service()) as (address, _):
        client = Client(tiny_plan(), PATIENT, address=address, progress=lambda *said: told.append(said))
        client.run(tiny_feeds())
    for phase in ("offline", "online"):
        steps = [done for name, done, _ in told if name == phase]
        assert steps == sorted(steps)
        assert steps[-1] == len(tiny_plan().steps)
    assert {total for _, _, total in told} == {len(tiny_plan().steps)}


def test_who_hears_of_it_may_end_it():
    class Enough(Exception):
        pass

    def enough(phase: str, done: int, total: int) -> None:
        if phase == "online":
            raise Enough

    with served(service()) as (address, _):
        with Client(tiny_plan(), PATIENT, address=address, progress=enough) as client, pytest.raises(Enough):
            client.run(tiny_feeds())
        assert right(Client(tiny_plan(), PATIENT, address=address).run(tiny_feeds()))
