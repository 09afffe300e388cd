"""What is made ahead: to the level of both sides, between inferences, never in anyone's way."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from frames import tcp_pair
from sides import eventually, running, serving_here, told
from test_going_on import as_foretold, paid_setup, right
from tiny import tiny_feeds, tiny_plan, tiny_weights

from ppc.runtime.base.errors import BadInput, PeerRefuses
from ppc.runtime.net.channel import Channel
from ppc.runtime.net.frame import Notice, Told
from ppc.runtime.net.tcp import TcpTransport
from ppc.runtime.party.role import CLIENT
from ppc.runtime.service.client import Client
from ppc.runtime.service.gate import Limits
from ppc.runtime.service.offer import Offer
from ppc.runtime.service.options import SessionOptions
from ppc.runtime.service.report import Outcome
from ppc.runtime.service.server import Server
from ppc.runtime.service.serving import Goods, Service
from ppc.runtime.service.session import Session
from ppc.runtime.service.shelf import Shelf
from ppc.runtime.session.handshake import HELLO, Ticket, hear
from ppc.runtime.session.held import Held
from ppc.runtime.session.inputs import ClientInput

PATIENT = SessionOptions(timeout=20)


@pytest.fixture
def made(monkeypatch) -> list[Outcome]:
    """All that either side has prepared."""
    found: list[Outcome] = []
    real = Session.prepare

    def prepare(*args: object, **more: object) -> Outcome:
        found.append(real(*args, **more))
        return found[-1]

    monkeypatch.setattr(Session, "prepare", prepare)
    return found


@contextmanager
def served(path: Path, preparations: int, at_once: int = 4) -> Iterator[tuple[Service, tuple[str, int]]]:
    offer = Offer(tiny_plan(), tiny_weights(), store=path / "server", check_ot=False)
    service = Service(lambda: Goods((offer,)), PATIENT, Limits(at_once=at_once), preparations=preparations)
    with running(service) as (address, _):
        yield service, address


def client(path: Path, ahead: int) -> Client:
    return Client(tiny_plan(), PATIENT, store=path / "client", ahead=ahead)


def ready(path: Path) -> set[str]:
    """Ids of which both sides have their half."""
    server, mine = ({each.stem for each in path.glob(f"{role}/*.{role}")} for role in ("server", "client"))
    return server & mine


def filled(asker: Client, path: Path, count: int) -> None:
    """So many lie at both sides. `Client.settle` does not wait for a server without time."""
    eventually(lambda: len(ready(path)) == count)
    asker.settle()
    assert len(ready(path)) == count


def test_inferences_find_what_was_made_between_them_at_the_price_foretold(tmp_path, made):
    asker = client(tmp_path, 2)
    with served(tmp_path, 4) as (_, address):
        first = asker.run(tiny_feeds(), address)
        filled(asker, tmp_path, 2)
        before = ready(tmp_path)
        second = asker.run(tiny_feeds(), address)
        filled(asker, tmp_path, 2)  # what was used is made anew
        third, fourth = asker.run_all([tiny_feeds()] * 2, address)
        asker.close()
    assert (first.material, set(second.material) <= before) == ((), True)
    assert all(len(each.material) == 1 and right(each) for each in (second, third, fourth))
    assert len({*second.material, *third.material, *fourth.material}) == 3
    assert [paid_setup(each) for each in (first, second, third)] == [True, False, False]
    assert all(as_foretold(each) for each in (first, second, third, fourth, *made))
    assert len(made) >= 6, "of both sides"
    assert not any(paid_setup(each) for each in made)


def test_who_asks_while_something_is_made_waits_for_that_alone_and_takes_it(tmp_path, made):
    asker = client(tmp_path, 9)
    with served(tmp_path, 9) as (service, address):
        asker.run(tiny_feeds(), address)
        eventually(lambda: service._host.gate.running)
        outcome = asker.run(tiny_feeds(), address)
        asker.close()
    assert len(outcome.material) == 1
    assert len(made) <= 4, "one before, and one after, of both sides"


@pytest.mark.parametrize("level", [0, 1])
def test_a_server_s_level_bounds_it_and_nothing_that_was_paid_is_lost(tmp_path, level):
    asker = client(tmp_path, 3)
    with served(tmp_path, level) as (_, address):
        for used in (0, level):
            outcome = asker.run(tiny_feeds(), address)
            filled(asker, tmp_path, level)
            assert len(outcome.material) == used
        assert not paid_setup(outcome)


def test_a_server_that_runs_for_one_prepares_nothing_ahead(tmp_path):
    asker = client(tmp_path, 3)
    server = Server(tiny_plan(), tiny_weights(), PATIENT, store=tmp_path / "server")
    with serving_here(server, once=False) as (address, said):
        asked = []
        for _ in range(2):
            asked.append(asker.run(tiny_feeds(), address))
            asker.settle()
        assert not any("failed" in line for line in said)
    assert [paid_setup(each) for each in asked] == [True, False]


def test_a_busy_server_makes_nothing_ahead_and_keeps_nobody_waiting_for_it(tmp_path):
    asker = client(tmp_path, 1)
    with served(tmp_path, 1, at_once=2) as (service, address):
        with service._host.gate.turn("somebody", 0):
            assert right(asker.run(tiny_feeds(), address))
            asker.settle()
            assert ready(tmp_path) == set()
            again = asker.run(tiny_feeds(), address)
            assert right(again)
            assert not paid_setup(again)
        asker.run(tiny_feeds(), address)
        filled(asker, tmp_path, 1)


@pytest.mark.long
def test_a_client_asks_a_busy_server_again(tmp_path, monkeypatch):
    monkeypatch.setattr("ppc.runtime.service.gate.FIRST_GUESS", 0.1)
    asker = client(tmp_path, 1)
    with served(tmp_path, 1, at_once=2) as (service, address):
        with service._host.gate.turn("somebody", 0), told() as said:
            asker.run(tiny_feeds(), address)
            time.sleep(2.5)
        assert ready(tmp_path) == set()
        assert not said or "ahead" not in "".join(said), "it is not given up"
        eventually(lambda: len(ready(tmp_path)) == 1)
        asker.close()


@pytest.mark.parametrize("after", [0, 1])
def test_a_refusal_is_no_fault_unless_the_server_has_begun(after):
    """Until then both stand where they stood; then their correlations might be out of step."""
    ends = tcp_pair()

    def refuse() -> None:
        channel = Channel(TcpTransport(ends[0], 20))
        hello = hear(channel).hello
        for _ in range(after):
            channel.send(HELLO.pack(*hello))
        channel.notify(Notice(Told.BUSY, 7))
        channel.flush()

    thread = threading.Thread(target=refuse)
    thread.start()
    with Session(CLIENT, ends[1], tiny_plan(), options=PATIENT) as session:
        session._connection.ticket = Ticket(ended=1)
        with pytest.raises(PeerRefuses, match="come again in 7 s") as refused:
            session.infer(ClientInput.of(tiny_plan(), tiny_feeds()))
    assert refused.value.again == 7
    assert (session.release() is None) == bool(after)
    thread.join(timeout=20)
    ends[0].close()


def test_what_is_made_ahead_has_to_lie_somewhere(tmp_path):
    with pytest.raises(BadInput, match="give a store too"):
        Client(tiny_plan(), ahead=1)
    with pytest.raises(BadInput, match="/dev/null"):
        Client(tiny_plan(), ahead=1, store="/dev/null")


def test_room_is_made_by_what_the_peer_has_lost_the_oldest_first(tmp_path):
    shelf = Shelf(tmp_path / "store", tiny_plan(), tiny_weights(), check_ot=False)
    ids = [bytes([i] * 16) for i in range(1, 5)]
    for i, id in enumerate(ids):
        shelf.made().draft(id, Held.of([])).publish()
        os.utime(tmp_path / "store" / f"{id.hex()}.server", (i, i))
    for level, left in ((9, ids), (4, ids), (3, [ids[0], *ids[2:]]), (0, [ids[0]]), (-1, [ids[0]])):
        shelf.make_room(level, {ids[0]})
        assert sorted(shelf.made().named()) == left
