"""A client that comes again pays no setup, where both sides stand where they stood; else both begin anew."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from frames import tcp_pair
from relay import Relay
from sides import running
from tiny import tiny_feeds, tiny_plan, tiny_weights

from ppc.runtime.base.errors import NetworkFault, PeerMismatch
from ppc.runtime.net.channel import Channel
from ppc.runtime.net.tcp import TcpTransport
from ppc.runtime.party.ledger import PHASES
from ppc.runtime.party.party import Party
from ppc.runtime.party.role import CLIENT, SERVER
from ppc.runtime.service.client import Client
from ppc.runtime.service.gate import Limits
from ppc.runtime.service.offer import Offer
from ppc.runtime.service.options import SessionOptions
from ppc.runtime.service.parking import Parking
from ppc.runtime.service.report import Outcome
from ppc.runtime.service.serving import Goods, Service
from ppc.runtime.service.session import Session
from ppc.runtime.session.connection import Connection
from ppc.runtime.session.engines import standard
from ppc.runtime.session.handshake import NO_TICKET, InferenceTerms
from ppc.runtime.session.inputs import ClientInput
from ppc.runtime.session.simulate import simulate

PATIENT = SessionOptions(timeout=20)


@pytest.fixture
def outcomes(monkeypatch) -> list[Outcome]:
    """Of the server."""
    found: list[Outcome] = []
    real = Service._done
    monkeypatch.setattr(
        Service, "_done", lambda self, guest, done: found.append(done) or real(self, guest, done)
    )
    return found


@contextmanager
def served(**limits: int) -> Iterator[tuple[str, int]]:
    offer = Offer(tiny_plan(), tiny_weights(), store=None, check_ot=False)
    with running(Service(lambda: Goods((offer,)), PATIENT, Limits(**limits))) as (address, _):
        yield address


def right(outcome: Outcome) -> bool:
    expected = simulate(tiny_plan(), tiny_weights(), tiny_feeds())[tiny_plan().outputs[0].value]
    return bool(abs(outcome.outputs["y"] - expected).max() < 0.15 * abs(expected).max())


def as_foretold(outcome: Outcome) -> bool:
    report = outcome.report
    rows = [*(report[p] | {"predicted": report["predicted"][p]} for p in PHASES), *report["steps"]]
    return all(row[k] == row["predicted"][k] for row in rows for k in ("sent", "received", "flights"))


def paid_setup(outcome: Outcome) -> bool:
    """More than the handshake."""
    return outcome.report["setup"]["sent"] + outcome.report["setup"]["received"] > 10_000


def test_who_comes_again_pays_no_setup(outcomes):
    client = Client(tiny_plan(), PATIENT)
    with served() as address:
        asked = [client.run(tiny_feeds(), address) for _ in range(3)]
        asked += client.run_all([tiny_feeds()] * 2, address)
    assert [paid_setup(each) for each in asked] == [True, False, False, False, False]
    assert all(right(each) for each in asked)
    assert all(as_foretold(each) for each in (*asked, *outcomes))
    assert [each.report["setup"]["sent"] for each in asked] == [
        each.report["setup"]["received"] for each in outcomes
    ]


def test_who_asks_for_nothing_to_be_kept_begins_anew():
    client = Client(tiny_plan(), PATIENT, go_on=False)
    with served() as address:
        assert all(paid_setup(client.run(tiny_feeds(), address)) for _ in range(2))


def test_a_server_that_kept_nothing_begins_anew_and_so_does_its_client(outcomes):
    client = Client(tiny_plan(), PATIENT)
    with served(kept=0) as address:
        asked = [client.run(tiny_feeds(), address) for _ in range(2)]
    assert all(paid_setup(each) and right(each) for each in asked)
    assert all(as_foretold(each) for each in (*asked, *outcomes))


@pytest.mark.long
@pytest.mark.parametrize("limit", [2_000, 60_000])
def test_a_link_that_drops_in_the_middle_takes_what_was_set_up_with_it(limit, outcomes):
    """After so many of the client's bytes: what comes then begins anew, and is right."""
    client = Client(tiny_plan(), PATIENT)
    with served() as address:
        client.run(tiny_feeds(), address)
        cut = Relay(f"{address[0]}:{address[1]}", limit)
        host, _, port = cut.address.rpartition(":")
        client._lines.kept[host, int(port)] = client._lines.kept.pop(address)
        threading.Thread(target=lambda: cut.reached.wait(20) and cut.close(), daemon=True).start()
        with pytest.raises(NetworkFault):
            client.run(tiny_feeds(), (host, int(port)))
        assert client._lines.kept == {}
        again = client.run(tiny_feeds(), address)
    assert paid_setup(again)
    assert right(again)
    assert as_foretold(again)
    assert len(outcomes) == 2


def test_who_comes_again_before_the_server_knows_that_the_link_is_gone(outcomes):
    """As after a change of networks: the first channel is still open there, and hears no more."""
    with served() as address:
        ends = [Session(CLIENT, socket.create_connection(address), tiny_plan(), options=PATIENT)]
        given = ClientInput.of(tiny_plan(), tiny_feeds())
        assert paid_setup(ends[0].infer(given))
        kept = ends[0]._connection
        ends.append(
            Session(CLIENT, socket.create_connection(address), tiny_plan(), options=PATIENT, kept=kept)
        )
        again = ends[1].infer(given)
        assert not paid_setup(again)
        assert right(again)
        for end in ends:
            end.close()


def test_one_side_that_has_ended_more_does_not_go_on(outcomes):
    """As where the link drops when the server has sent its last message and the client has not got it."""
    client = Client(tiny_plan(), PATIENT)
    with served() as address:
        client.run(tiny_feeds(), address)
        kept = client._lines.kept[address]
        kept.ticket = kept.ticket._replace(ended=2)
        again = client.run(tiny_feeds(), address)
    assert paid_setup(again)
    assert right(again)


def test_a_server_cannot_go_on_from_where_its_client_is_not():
    ends = zip((SERVER, CLIENT), tcp_pair(), strict=True)
    server, client = (Connection(Party(role, Channel(TcpTransport(end, 20)), standard)) for role, end in ends)
    server.ticket = server.ticket._replace(ended=7)

    def serve() -> None:
        with contextlib.suppress(NetworkFault):
            server.infer(tiny_plan(), InferenceTerms(), weights=tiny_weights())

    thread = threading.Thread(target=serve)
    thread.start()
    with pytest.raises(PeerMismatch, match="would go on from where this side is not"):
        client.infer(tiny_plan(), InferenceTerms())
    client.party.channel.close()
    thread.join(timeout=20)
    server.party.channel.close()


# ---- what a server keeps


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def connection(ended: int = 1) -> Connection:
    made = Connection(Party(SERVER, Channel(TcpTransport(tcp_pair()[0], 20)), standard))
    made.ticket = made.ticket._replace(ended=ended)
    return made


def test_a_ticket_is_good_once_and_for_its_client_alone():
    parking, kept = Parking(9, 60), connection()
    for name, ticket in (
        ("bob", kept.ticket),
        (None, kept.ticket),
        ("alice", kept.ticket._replace(ended=2)),
        ("alice", kept.ticket),
    ):
        parking.put(kept, "alice")
        assert parking.take(NO_TICKET, name) is None
        found = parking.take(ticket, name)
        assert (found is kept) == (name == "alice" and ticket == kept.ticket)
        assert parking.take(kept.ticket, "alice") is None, "it was shown before"


def test_what_is_kept_is_bounded_in_number_and_time():
    clock = Clock()
    parking, every = Parking(2, 60, clock), [connection() for _ in range(3)]
    for each in every:
        clock.now += 10
        parking.put(each, None)
    assert len(parking) == 2
    assert parking.take(every[0].ticket, None) is None
    clock.now += 50
    assert parking.take(every[1].ticket, None) is None, "too old"
    assert parking.take(every[2].ticket, None) is every[2]


def test_tickets_are_secret_and_new_for_each_channel():
    kept = connection()
    first = kept.ticket
    kept.go_on(Channel(TcpTransport(tcp_pair()[0], 20)))
    assert kept.ticket.id != first.id
    assert len(kept.ticket.id) == 16
    assert kept.ticket.ended == first.ended
    assert first.id.hex() not in repr(first)
    assert repr(first.id) not in repr(first)
