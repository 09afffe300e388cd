"""A client that comes again pays no setup, where both sides stand where they stood; else both begin anew."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from frames import tcp_pair
from relay import Relay
from sides import running
from tiny import tiny_feeds, tiny_plan, tiny_weights

from ppc.runtime.base.errors import NetworkFault, PeerMismatch, RuntimeFault
from ppc.runtime.net.channel import Channel
from ppc.runtime.net.tcp import TcpTransport
from ppc.runtime.ot.extension import Iknp
from ppc.runtime.ot.pool import Pool
from ppc.runtime.party.ledger import PHASES
from ppc.runtime.party.party import Party
from ppc.runtime.party.role import CLIENT, SERVER
from ppc.runtime.service.client import Client
from ppc.runtime.service.gate import Limits
from ppc.runtime.service.offer import Offer
from ppc.runtime.service.options import SessionOptions
from ppc.runtime.service.parking import OnDisk
from ppc.runtime.service.report import Outcome
from ppc.runtime.service.serving import Goods, Service
from ppc.runtime.service.session import Session
from ppc.runtime.session.connection import Connection
from ppc.runtime.session.engines import standard
from ppc.runtime.session.facts import facts
from ppc.runtime.session.handshake import GO_ON, HELLO, MAGIC, PICK, VERSION, InferenceTerms, Ticket
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


def service(**limits: int) -> Service:
    offer = Offer(tiny_plan(), tiny_weights(), store=None, check_ot=False)
    return Service(lambda: Goods((offer,)), PATIENT, Limits(**limits))


@contextmanager
def served(**limits: int) -> Iterator[tuple[str, int]]:
    with running(service(**limits)) as (address, _):
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


# ---- a server that is started again


def restarted(folder: Path, *, check_ot: bool = False) -> Service:
    """One that keeps what it keeps in a folder; another on the same is what comes after it."""
    offer = Offer(tiny_plan(), tiny_weights(), store=None, check_ot=check_ot)
    options = replace(PATIENT, check_ot=check_ot)
    return Service(lambda: Goods((offer,)), options, Limits(), keep_in=folder)


def moved(client: Client, address: tuple[str, int]) -> None:
    """What it keeps is of the server there, which has got another port."""
    for each in list(client._lines.kept):
        client._lines.kept[address] = client._lines.kept.pop(each)


@pytest.mark.long
@pytest.mark.parametrize("check_ot", [False, True])
def test_a_client_goes_on_with_a_server_that_was_started_again(tmp_path, outcomes, check_ot):
    client, asked = Client(tiny_plan(), replace(PATIENT, check_ot=check_ot)), []
    for _ in range(3):
        with running(restarted(tmp_path / "kept", check_ot=check_ot)) as (address, _):
            moved(client, address)
            asked += [client.run(tiny_feeds(), address) for _ in range(2)]
    assert [paid_setup(each) for each in asked] == [True] + [False] * 5
    assert all(right(each) for each in asked)
    assert all(as_foretold(each) for each in (*asked, *outcomes))


@pytest.mark.long
def test_no_ot_is_extended_or_taken_twice_over_many_servers(tmp_path, monkeypatch):
    """At either side, by the base OTs that they come of: masks would repeat, and two inputs differ openly."""
    made: list[tuple[object, ...]] = []
    extend, take = Iknp.extend, Pool.take

    def extended(self: Iknp, p: Party, n: int) -> object:
        made.append(("extended", p.role, self.tag, self._counter))
        return extend(self, p, n)

    def taken(self: Pool, n: int) -> object:
        if n:
            made.append(("taken", self._p.role, self._iknp.tag, self.taken))
        return take(self, n)

    monkeypatch.setattr(Iknp, "extend", extended)
    monkeypatch.setattr(Pool, "take", taken)
    client = Client(tiny_plan(), PATIENT)
    for _ in range(3):
        with running(restarted(tmp_path / "kept")) as (address, _):
            moved(client, address)
            with contextlib.suppress(RuntimeFault):  # out of step they understand each other no longer
                client.run(tiny_feeds(), address)
    seen = [each for each in made if each[1] is not None]  # the others are prices
    tags = {tag for name, _, tag, _ in seen if name == "extended"}
    assert len(tags) == 2, "one set of base OTs for each direction, all the time"
    assert len(seen) > 100
    assert len(seen) == len(set(seen))


def shown_again(address: tuple[str, int], ticket: Ticket) -> Ticket:
    """What a server says to who shows a ticket, and hangs up."""
    terms = InferenceTerms()
    with socket.create_connection(address) as sock:
        channel = Channel(TcpTransport(sock, 20))
        digest = facts(tiny_plan()).digest
        channel.send(HELLO.pack(MAGIC, VERSION, bytes.fromhex(tiny_plan().hash), digest))
        channel.send(terms.ask() + GO_ON.pack(*ticket))
        channel.recv(HELLO.size)
        said = bytes(channel.recv(PICK.size + GO_ON.size))
        channel.close()
    return Ticket(*GO_ON.unpack(said[PICK.size :]))


@pytest.mark.parametrize("on_disk", [True, False])
def test_nobody_goes_on_twice_from_where_a_connection_stood(tmp_path, on_disk):
    """Who did would have the server extend the same OTs twice, with the same masks: a client that shows its
    ticket, hangs up, and shows it again, to the same server and to one that was started again."""
    client, folder = Client(tiny_plan(), PATIENT), tmp_path / "kept"
    with running(restarted(folder) if on_disk else service()) as (address, _):
        client.run(tiny_feeds(), address)
        ticket = client._lines.kept[address].ticket
        assert shown_again(address, ticket).ended == 1
        assert shown_again(address, ticket).ended == 0
    with running(restarted(folder)) as (address, _):
        assert shown_again(address, ticket).ended == 0


@pytest.mark.long
def test_a_server_that_dies_while_a_client_goes_on_has_lost_it(tmp_path):
    """kill -9 once the client has shown its ticket: the next server begins anew, and so does the client."""
    folder, client = tmp_path / "kept", Client(tiny_plan(), PATIENT)
    with running(restarted(folder)) as (address, _):
        client.run(tiny_feeds(), address)
        ticket = client._lines.kept[address].ticket
    child = os.fork()
    if child == 0:
        OnDisk(folder, 9, 60, check_ot=False).take(ticket, None)
        os.kill(os.getpid(), signal.SIGKILL)
    os.waitpid(child, 0)
    with running(restarted(folder)) as (address, _):
        moved(client, address)
        again = client.run(tiny_feeds(), address)
    assert paid_setup(again)
    assert right(again)
