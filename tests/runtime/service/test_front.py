"""A client is sent on, once, to the server that has what it shows; an address opens nothing there."""

from __future__ import annotations

import pickle
import socket
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import replace

import pytest
from certificates import LOOPBACK, Authority, pem
from cryptography import x509
from frames import tcp_pair
from sides import eventually, running
from test_going_on import as_foretold, paid_setup, right
from test_lines import PATIENT, service
from tiny import tiny_feeds, tiny_plan, tiny_weights

from ppc.runtime.base.errors import NetworkFault, PeerMismatch, PeerRefuses, SentOn
from ppc.runtime.net.address import shown
from ppc.runtime.net.channel import Channel
from ppc.runtime.net.frame import HEADER, LONGEST_ADDRESS, NO_FRAME, Notice, Told
from ppc.runtime.net.tcp import TcpTransport
from ppc.runtime.net.tls import ClientTls, ServerTls
from ppc.runtime.party.role import CLIENT
from ppc.runtime.service.client import Client
from ppc.runtime.service.front import SEEN_SECONDS, Front, Shown, Standing
from ppc.runtime.service.gate import Limits, TurnedAway
from ppc.runtime.service.offer import Offer
from ppc.runtime.service.register import Register
from ppc.runtime.service.serving import Goods, Service
from ppc.runtime.service.session import Session, heed
from ppc.runtime.session.handshake import HELLO, MAGIC, VERSION, Purpose, Request, hear
from ppc.runtime.session.inputs import ClientInput

Where = tuple[str, int]


def fronting(front: Front, register: Register | None = None, tls: ServerTls | None = None) -> Service:
    offer = Offer(tiny_plan(), tiny_weights(), store=None, check_ot=False)
    goods = Goods((offer,), tls and tls.context())
    return Service(lambda: goods, PATIENT, Limits(), preparations=4, register=register, front=front)


def to(*addresses: str) -> Front:
    """One whose servers are all idle, and hold nothing."""
    return Front(lambda shown: [Standing(each, 0, 0) for each in addresses])


@contextmanager
def spread(*services: Service) -> Iterator[tuple[Where, list[str]]]:
    """Servers and their front: its address, and those of the servers."""
    with ExitStack() as stack:
        places = [stack.enter_context(running(each))[0] for each in services]

        def standings(asked: Shown) -> Sequence[Standing]:
            return [
                Standing(shown(place), *each.standing(asked))
                for place, each in zip(places, services, strict=True)
            ]

        address, _ = stack.enter_context(running(fronting(Front(standings))))
        yield address, [shown(each) for each in places]


def connected(*services: Service) -> list[int]:
    """Inferences that each has answered."""
    text = [each.metrics.text() for each in services]
    return [
        int(each.partition("ppc_inferences_total{")[2].partition("} ")[2].split("\n")[0] or 0)
        for each in text
    ]


@pytest.mark.long
def test_a_client_is_answered_by_a_server_to_which_it_is_sent():
    servers = [service(), service()]
    with spread(*servers) as (address, _):
        asked = [Client(tiny_plan(), PATIENT, address=address).run(tiny_feeds()) for _ in range(2)]
    assert all(right(each) and as_foretold(each) for each in asked)
    assert connected(*servers) == [1, 1], "the second goes where nobody was sent just before"


@pytest.mark.long
def test_it_comes_again_to_the_server_that_keeps_its_connection():
    servers = [service(), service()]
    with spread(*servers) as (address, _):
        clients = [Client(tiny_plan(), PATIENT, address=address) for _ in range(2)]
        asked = [client.run(tiny_feeds()) for _ in range(3) for client in clients]
    assert [paid_setup(each) for each in asked] == [True, True, False, False, False, False]
    assert all(right(each) and as_foretold(each) for each in asked)
    assert connected(*servers) == [3, 3]


@pytest.mark.long
def test_it_goes_where_its_prepared_material_lies(tmp_path):
    servers = [service(store=tmp_path / "0"), service(store=tmp_path / "1")]
    with spread(*servers) as (address, _):
        for name in ("a", "b"):
            store = {"store": tmp_path / name}
            ids = Client(tiny_plan(), PATIENT, address=address, **store).prepare(2).material
            # other processes, which show no ticket
            used = [Client(tiny_plan(), PATIENT, address=address, **store).run(tiny_feeds()) for _ in ids]
            assert sorted(id for each in used for id in each.material) == sorted(ids)
            assert all(right(each) for each in used)


def test_what_is_made_ahead_follows_too(tmp_path):
    servers = [service(store=tmp_path / "0"), service(store=tmp_path / "1")]
    with spread(*servers) as (address, _):
        client = Client(tiny_plan(), PATIENT, address=address, store=tmp_path / "client", ahead=1)
        assert not client.run(tiny_feeds()).material
        client.settle()
        assert len(client.run(tiny_feeds()).material) == 1
        client.close()


def test_one_connection_to_the_server_is_kept_open_from_call_to_call():
    made = service()
    with spread(made) as (address, _), Client(tiny_plan(), PATIENT, address=address) as client:
        asked = [client.run(tiny_feeds()) for _ in range(3)]
        assert made._host.connections == 1
    assert [paid_setup(each) for each in asked] == [True, False, False]


@pytest.mark.long
def test_a_server_that_is_gone_is_no_end():
    """Its clients are sent to another when they come again, and begin anew there."""
    standing: list[Standing] = []
    with ExitStack() as stack:
        made = service(), service(), fronting(Front(lambda asked: standing))
        first, second, front = (stack.enter_context(each.start(("127.0.0.1", 0))) for each in made)
        standing.append(Standing(shown(first.address), 0, 0))
        client = Client(tiny_plan(), PATIENT, address=front.address)
        client.run(tiny_feeds())
        first.stop()
        other = Standing(shown(second.address), 0, 0)
        threading.Timer(0.3, lambda: standing.__setitem__(0, other)).start()
        again = client.run(tiny_feeds())  # at first the front does not know yet
    assert right(again)
    assert paid_setup(again)


@pytest.mark.long
def test_nor_is_one_that_goes_while_a_client_waits_there():
    """It has not answered, so that nothing is claimed: the client asks the front again, and goes on."""
    standing: list[Standing] = []
    with ExitStack() as stack:
        made = service(), service(), fronting(Front(lambda asked: standing))
        first, second, front = (stack.enter_context(each.start(("127.0.0.1", 0))) for each in made)
        standing.append(Standing(shown(first.address), 0, 0))
        client = Client(tiny_plan(), PATIENT, address=front.address)
        client.run(tiny_feeds())
        with ThreadPoolExecutor(1) as pool, full(made[0]):
            waits = pool.submit(client.run, tiny_feeds())
            eventually(lambda: made[0]._host.gate.waiting)
            standing[0] = Standing(shown(second.address), 0, 0)
            for guest in made[0]._host._guests:
                guest.session.hang_up()
            assert right(waits.result(timeout=20))
        assert connected(*made[:2]) == [1, 1]


@contextmanager
def full(made: Service) -> Iterator[None]:
    """No turn is to be had while this is open."""
    with ExitStack() as turns:
        for i in range(made._limits.at_once):
            turns.enter_context(made._host.gate.turn(f"somebody {i}", 0))
        yield


# ---- what is refused


def test_two_fronts_that_send_a_client_to_each_other_do_not_keep_it():
    with ExitStack() as stack:
        places: list[str] = []
        fronts = [fronting(Front(lambda asked, i=i: [Standing(places[i], 0, 0)])) for i in (1, 0)]
        addresses = [stack.enter_context(running(each))[0] for each in fronts]
        places += map(shown, addresses)
        with pytest.raises(PeerMismatch, match=f"to {places[1]}, which sends it on to {places[0]}"):
            Client(tiny_plan(), PATIENT, address=addresses[0]).run(tiny_feeds())
    assert sum("ppc_sent_on_total 1\n" in each.metrics.text() for each in fronts) == 2


def test_a_front_without_a_server_says_when_to_come_again():
    refused = pytest.raises(PeerRefuses, match="come again in 1 s")
    with running(fronting(Front(lambda asked: []))) as (address, _), refused:
        Client(tiny_plan(), PATIENT, address=address, patience=0).run(tiny_feeds())


def test_where_nobody_answers_is_told_with_both_addresses():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        free = shown(taken.getsockname())
    refused = pytest.raises(PeerRefuses, match=f"sends this client on, and cannot .* {free}")
    with running(fronting(to(free))) as (address, _), refused:
        Client(tiny_plan(), PATIENT, address=address, patience=0).run(tiny_feeds())


def test_a_front_answers_nobody_itself_who_holds_something_else():
    """Another plan, or another version: what is wrong is told at once, and by the front."""
    made = fronting(to("127.0.0.1:1"))
    with running(made) as (address, _), pytest.raises(PeerMismatch, match="plans differ"):
        Client(tiny_plan("other"), PATIENT, address=address).run(tiny_feeds())
    assert "ppc_sent_on_total 1" not in made.metrics.text()


def test_who_is_not_on_the_list_is_told_no_address(tmp_path):
    authority = Authority.new("authority")
    (tmp_path / "ca.pem").write_bytes(pem(authority.certificate))
    own = authority.issue(tmp_path / "tls", LOOPBACK)
    asks = ClientTls(tmp_path / "ca.pem", own.certificate, own.key)  # whose name is "server"
    with Register(tmp_path / "clients.db", create=True) as register:
        made = fronting(to("127.0.0.1:1"), register, replace(own, clients=tmp_path / "ca.pem"))
        with running(made) as (address, _):
            client = Client(tiny_plan(), PATIENT, address=address, tls=asks, patience=0)
            with pytest.raises(PeerRefuses, match="on its list"):
                client.run(tiny_feeds())
            register.allow("server", None)
            with pytest.raises(PeerRefuses, match="sends this client on"):
                client.run(tiny_feeds())


@pytest.mark.parametrize("vouched", [True, False])
def test_the_server_needs_a_certificate_for_the_name_of_the_front(tmp_path, vouched):
    """It is called by an address that no certificate need name."""
    authority, name = Authority.new("authority"), [x509.DNSName("localhost")]
    (tmp_path / "ca.pem").write_bytes(pem(authority.certificate))
    own = authority.issue(tmp_path / "tls", name)
    theirs = own if vouched else authority.issue(tmp_path / "other", LOOPBACK[-1:])
    offer = Offer(tiny_plan(), tiny_weights(), store=None, check_ot=False)
    server = Service(lambda: Goods((offer,), theirs.context()), PATIENT, Limits())
    with running(server) as (place, _), running(fronting(to(shown(place)), tls=own)) as (address, _):
        trusts = ClientTls(tmp_path / "ca.pem")
        client = Client(tiny_plan(), PATIENT, address=("localhost", address[1]), tls=trusts, patience=0)
        if vouched:
            assert right(client.run(tiny_feeds()))
        else:
            with pytest.raises(NetworkFault, match=r"no TLS with the peer: .*localhost"):
                client.run(tiny_feeds())


def heard_by_a_client(said: bytes) -> None:
    server, sock = tcp_pair()
    ours, client = TcpTransport(server, 20), Channel(TcpTransport(sock, 20), heed)
    ours.send(said)
    try:
        client.recv(4)
    finally:
        ours.close()
        client.close()


def test_an_address_comes_out_as_it_went_in():
    for address in ("127.0.0.1:7766", "[::1]:1", "a" * (LONGEST_ADDRESS - 6) + ":65535"):
        with pytest.raises(SentOn) as on:
            heard_by_a_client(Notice.elsewhere(address).pack())
        assert shown(on.value.address) == address


@pytest.mark.parametrize(
    ("size", "text"),
    [
        (0, b""),
        (LONGEST_ADDRESS + 1, b"a" * LONGEST_ADDRESS + b":"),
        (4, b"host"),
        (7, b"h:99999"),
        (3, b"\xff:1"),
    ],
    ids=["none", "too long", "no port", "no such port", "no text"],
)
def test_what_is_no_address_is_refused(size, text):
    with pytest.raises(PeerMismatch):
        heard_by_a_client(HEADER.pack(NO_FRAME, Told.ELSEWHERE << 24 | size) + text)


def test_who_has_said_anything_else_sends_nobody_on():
    """By then material may be claimed for it, which another must not get."""
    ends, fresh = tcp_pair(), tcp_pair()

    def serve() -> None:
        channel = Channel(TcpTransport(ends[0], 20))
        channel.send(HELLO.pack(*hear(channel).hello))
        channel.notify(Notice.elsewhere("127.0.0.1:1"))
        channel.flush()

    thread = threading.Thread(target=serve)
    thread.start()
    session = Session(CLIENT, ends[1], tiny_plan(), options=PATIENT, reach=lambda where: fresh[1])
    with session, pytest.raises(SentOn):
        session.infer(ClientInput.of(tiny_plan(), tiny_feeds()))
    assert session.release() is None, "nor does it go on from there"
    thread.join(timeout=20)
    for each in (ends[0], *fresh):
        each.close()


def test_nobody_is_sent_on_in_the_middle(monkeypatch):
    """A session that has run something stays where its keys are."""
    made = service()
    with running(made) as (address, _), Client(tiny_plan(), PATIENT, address=address) as client:
        client.run(tiny_feeds())
        monkeypatch.setattr(made, "_front", to("127.0.0.1:1"))
        with pytest.raises(SentOn):
            client.run(tiny_feeds())


# ---- where to


def asking() -> Request:
    return Request((MAGIC, VERSION, bytes(32), bytes(32)), bytes([Purpose.RUN]) + bytes(4 + 64 * 16))


def test_what_lies_somewhere_counts_more_than_what_there_is_to_do():
    front = Front(lambda asked: [Standing("a", 0, 0), Standing("b", 1, 9), Standing("c", 2, 9)])
    assert [front.choose(None, asking()) for _ in range(3)] == ["c"] * 3


def test_who_shows_nothing_goes_where_least_is_to_do():
    now = [0.0]
    front = Front(lambda asked: [Standing("a", 0, 2), Standing("b", 0, 0)], clock=lambda: now[0])
    assert [front.choose(None, asking()) for _ in range(6)] == ["b", "b", "a", "b", "a", "b"]
    now[0] = SEEN_SECONDS
    assert front.choose(None, asking()) == "b", "those that it sent are seen in the load by now"


def test_a_fault_of_the_gate_can_be_told_to_another_process():
    told = pickle.loads(pickle.dumps(TurnedAway("quota: spent", Notice(Told.QUOTA, 7))))
    assert (str(told), told.notice) == ("quota: spent", Notice(Told.QUOTA, 7))
