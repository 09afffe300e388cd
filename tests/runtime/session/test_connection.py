"""Whole runs over TCP: right answers at the predicted price, and every way in which a peer can fail."""

from __future__ import annotations

import socket
import threading
from collections import Counter

import msgspec
import numpy as np
import pytest
from sides import infer, serve_one, serving_here
from tiny import tiny_feeds, tiny_plan, tiny_weights

from ppc.runtime.base.errors import BadInput, NetworkFault, PeerMismatch
from ppc.runtime.net.channel import Channel
from ppc.runtime.net.tcp import TcpTransport
from ppc.runtime.party.ledger import PHASES
from ppc.runtime.party.party import together
from ppc.runtime.party.role import Role
from ppc.runtime.service.client import Client
from ppc.runtime.service.options import SessionOptions
from ppc.runtime.service.report import Outcome
from ppc.runtime.service.server import Server
from ppc.runtime.session import handshake
from ppc.runtime.session.connection import predict_cost
from ppc.runtime.session.engines import standard
from ppc.runtime.session.executor import offline, setup
from ppc.runtime.session.facts import Facts, facts
from ppc.runtime.session.simulate import simulate


def _tcp_pair() -> tuple[socket.socket, socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        client = socket.create_connection(listener.getsockname()[:2])
        return listener.accept()[0], client


def both(server_plan=None, client_plan=None, feeds=None) -> dict[Role, Outcome | Exception]:
    """Run server and client in two threads over a socket pair; an exception is a result."""
    ends = _tcp_pair()
    results: dict[Role, Outcome | Exception] = {}

    def run(role: Role) -> None:
        try:
            if role is Role.SERVER:
                results[role] = serve_one(ends[0], server_plan or tiny_plan(), tiny_weights(), timeout=20)
            else:
                results[role] = infer(ends[1], client_plan or tiny_plan(), feeds or tiny_feeds(), timeout=20)
        except Exception as fault:
            results[role] = fault

    threads = [threading.Thread(target=run, args=(role,)) for role in Role]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=60)
    assert not any(thread.is_alive() for thread in threads)
    return results


@pytest.fixture(scope="module")
def finished() -> dict[Role, Outcome]:
    results = both()
    for outcome in results.values():
        if isinstance(outcome, Exception):
            raise outcome
    return results


def test_the_client_alone_learns_what_the_simulator_says(finished):
    assert finished[Role.SERVER].outputs is None
    got = finished[Role.CLIENT].outputs["y"]
    expected = simulate(tiny_plan(), tiny_weights(), tiny_feeds())[tiny_plan().outputs[0].value]
    assert expected.std() > 0.1
    # four truncations to 2^-6, then a product of two such values; step by step they agree to one unit
    assert np.abs(got - expected).max() < 0.15 * np.abs(expected).max()


def test_prediction_is_measurement_for_every_step_and_both_roles(finished):
    for outcome in finished.values():
        report = outcome.report
        for row in [*(report[p] | {"predicted": report["predicted"][p]} for p in PHASES), *report["steps"]]:
            assert all(row[k] == row["predicted"][k] for k in ("sent", "received", "flights"))
    assert sum(row["sent"] for row in finished[Role.CLIENT].report["steps"]) > 0


def test_both_roles_report_the_same_bytes(finished):
    server, client = (finished[role].report for role in Role)
    assert [r["sent"] for r in server["steps"]] == [r["received"] for r in client["steps"]]
    assert [r["flights"] for r in server["steps"]] == [r["flights"] for r in client["steps"]]


def test_steps_sum_to_phases(finished):
    report = finished[Role.CLIENT].report
    sums: Counter[tuple[str, str]] = Counter()
    for row in report["steps"]:
        for key in ("sent", "received", "flights"):
            sums[row["phase"], key] += row[key]
    assert all(
        report[phase][key] == sums[phase, key] for phase in PHASES for key in ("sent", "received", "flights")
    )


def test_another_plan_is_named_on_both_sides():
    results = both(client_plan=tiny_plan("other"))
    for fault in results.values():
        assert isinstance(fault, PeerMismatch)
        assert "plans differ" in str(fault)


def test_another_version_is_named():
    ends = _tcp_pair()

    def stranger() -> None:
        channel = Channel(TcpTransport(ends[1], 20))
        channel.send(handshake.HELLO.pack(handshake.MAGIC, handshake.VERSION + 1, bytes(32), bytes(32)))
        channel.recv(handshake.HELLO.size)
        channel.close()

    thread = threading.Thread(target=stranger)
    thread.start()
    with pytest.raises(
        PeerMismatch, match=r"versions differ: ppc 0.1.0 .* here, a ppc newer than 0.1.0 .* at the peer"
    ):
        serve_one(ends[0], tiny_plan(), tiny_weights(), timeout=20)
    thread.join()


def test_other_parameters_are_named(monkeypatch):
    real, roles = facts(tiny_plan()).digest, {}

    def digest(self):
        return real if roles.setdefault(threading.get_ident(), len(roles)) == 0 else bytes(32)

    monkeypatch.setattr(Facts, "digest", property(digest))
    for fault in both().values():
        assert isinstance(fault, PeerMismatch)
        assert "parameters differ" in str(fault)


def test_a_stranger_is_not_served():
    ends = _tcp_pair()
    ends[1].sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n" + bytes(100))
    with pytest.raises(PeerMismatch, match=r"does not speak ppc|belong"):
        serve_one(ends[0], tiny_plan(), tiny_weights(), timeout=5)
    ends[1].close()


@pytest.mark.long
@pytest.mark.parametrize("after", [0, 1, 3, 6, 12, 25, 40])
@pytest.mark.parametrize("role", list(Role))
def test_a_peer_that_hangs_up_is_one_clear_fault(monkeypatch, role, after):
    """``role`` closes after sending ``after`` frames; the other must not wait."""
    real = Channel.send

    def send(self, payload):
        if threading.current_thread().name == role.value and self._sent == after:
            self._transport.close()
            raise NetworkFault("hung up by the test")
        real(self, payload)

    monkeypatch.setattr(Channel, "send", send)
    ends = _tcp_pair()
    results: dict[Role, Exception | Outcome] = {}

    def run(which: Role) -> None:
        try:
            if which is Role.SERVER:
                results[which] = serve_one(ends[0], tiny_plan(), tiny_weights(), timeout=20)
            else:
                results[which] = infer(ends[1], tiny_plan(), tiny_feeds(), timeout=20)
        except Exception as fault:
            results[which] = fault

    threads = [threading.Thread(target=run, args=(which,), name=which.value) for which in Role]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=15)
    assert not any(thread.is_alive() for thread in threads)
    other = results[role.other]
    assert isinstance(other, NetworkFault), other


def test_a_silent_peer_is_given_up():
    ends = _tcp_pair()
    with pytest.raises(NetworkFault, match=r"silent for 0\.2 seconds"):
        serve_one(ends[0], tiny_plan(), tiny_weights(), timeout=0.2)
    ends[1].close()


def test_nobody_listening_is_one_clear_fault():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with pytest.raises(NetworkFault, match=r"cannot reach a server at 127\.0\.0\.1"):
        Client(tiny_plan(), patience=0.1).run(tiny_feeds(), ("127.0.0.1", port))


def test_a_taken_port_is_one_clear_fault():
    with socket.create_server(("127.0.0.1", 0)) as taken, pytest.raises(NetworkFault, match="cannot listen"):
        Server(tiny_plan(), tiny_weights()).serve(taken.getsockname()[:2], once=True)


def test_wrong_inputs_never_reach_the_network():
    with pytest.raises(BadInput, match="missing"):
        Client(tiny_plan(), patience=0.1).run({}, ("127.0.0.1", 1))


def test_a_server_outlives_a_client_that_fails():
    reports: list[dict] = []
    patient = SessionOptions(timeout=20)
    server = Server(tiny_plan(), tiny_weights(), patient)
    with serving_here(server, once=False, done=reports.append) as (address, said):
        socket.create_connection(address).close()
        with pytest.raises(PeerMismatch):
            Client(tiny_plan("other"), patient).run(tiny_feeds(), address)
        outcome = Client(tiny_plan(), patient).run(tiny_feeds(), address)
        assert outcome.outputs is not None
        assert sum("failed" in line for line in said) == 2


def test_masks_never_repeat_across_runs():
    """All offline material of two runs of one plan, compared array by array."""

    def material(p):
        setup(p, facts(tiny_plan()).cots, tiny_plan())
        return list(offline(p, tiny_plan(), tiny_weights() if p.role is Role.SERVER else None))

    first, second = (together(material, standard)[:2] for _ in range(2))
    for one, two in zip(first, second, strict=True):
        arrays, again = list(_arrays(one)), list(_arrays(two))
        assert len(arrays) == len(again) > 10
        for a, b in zip(arrays, again, strict=True):
            if a.size * a.itemsize >= 32 and a.max() > 1:
                assert not np.array_equal(a, b)


def _arrays(made):
    if isinstance(made, np.ndarray):
        yield made
    elif isinstance(made, (list, tuple)):
        for each in made:
            yield from _arrays(each)
    elif hasattr(made, "__dataclass_fields__"):
        for name in made.__dataclass_fields__:
            yield from _arrays(getattr(made, name))


def test_predict_says_what_the_plan_file_says():
    plan = tiny_plan()
    again = msgspec.msgpack.decode(plan.body, type=type(plan))
    assert {k: v.bytes for k, v in predict_cost(plan).rows.items()} == {
        k: v.bytes for k, v in predict_cost(again).rows.items()
    }
