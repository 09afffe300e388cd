"""Sessions that prepare and sessions that use it: right answers, online alone, and nothing used twice."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sides import infer, prepare, serve_one, told
from tiny import tiny_feeds, tiny_plan, tiny_weights

from ppc.backend.merge_lengths import merge_lengths
from ppc.runtime.base.errors import NetworkFault, PeerMismatch
from ppc.runtime.net.channel import Channel
from ppc.runtime.net.tcp import TcpTransport
from ppc.runtime.party.ledger import PHASES, Place
from ppc.runtime.party.role import CLIENT, SERVER, Role
from ppc.runtime.service.options import SessionOptions
from ppc.runtime.service.report import Outcome
from ppc.runtime.service.session import Session
from ppc.runtime.service.shelf import open_store
from ppc.runtime.session import handshake as agreement
from ppc.runtime.session.connection import FRESH, PREPARED, Program, predict_cost
from ppc.runtime.session.held import Held
from ppc.runtime.session.inputs import ClientInput
from ppc.runtime.session.material import Store
from ppc.runtime.session.simulate import simulate

pytestmark = pytest.mark.long

ROOT = Path(__file__).parents[3]


@dataclass
class Sides:
    """A server and a client with a store each; what they were told."""

    path: Path
    said: dict[Role, list[str]]

    def store(self, role: Role) -> Store:
        weights = tiny_weights() if role is SERVER else None
        return open_store(self.path / role.value, tiny_plan(), weights)

    def side(
        self, role: Role, verb: str, sock: socket.socket, fresh: bool = False, count: int = 1
    ) -> Outcome:
        weights = tiny_weights() if role is SERVER else None
        if verb == "prepare":
            return prepare(sock, tiny_plan(), self.store(role), count, weights, timeout=20)
        options: dict[str, Any] = {
            "timeout": 20,
            "store": None if fresh else self.store(role),
        }
        if weights is not None:
            return serve_one(sock, tiny_plan(), weights, **options)
        return infer(sock, tiny_plan(), tiny_feeds(), **options)

    def both(self, verb: str, **more: dict[str, Any]) -> dict[Role, Outcome | Exception]:
        """One session; ``server`` and ``client`` say what one of them does otherwise, ``both`` both."""
        options = {role: {"verb": verb} | more.get("both", {}) | more.get(role.value, {}) for role in Role}
        with told("server") as server, told("client") as client:
            results = two(
                {role: lambda sock, role=role: self.side(role, sock=sock, **options[role]) for role in Role}
            )
        self.said[SERVER] += server
        self.said[CLIENT] += client
        return results

    def ids(self, role: Role) -> set[str]:
        return {id.hex() for id in self.store(role).ids(99)}


def two(sides: dict[Role, Callable[[socket.socket], Outcome]]) -> dict[Role, Outcome | Exception]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        client = socket.create_connection(listener.getsockname()[:2])
        ends = {SERVER: listener.accept()[0], CLIENT: client}
    results: dict[Role, Outcome | Exception] = {}

    def run(role: Role) -> None:
        try:
            results[role] = sides[role](ends[role])
        except Exception as fault:
            results[role] = fault
            ends[role].close()

    threads = [threading.Thread(target=run, args=(role,), name=role.value) for role in Role]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=60)
    assert not any(thread.is_alive() for thread in threads)
    return results


def fine(results: dict[Role, Outcome | Exception]) -> dict[Role, Outcome]:
    for result in results.values():
        if isinstance(result, Exception):
            raise result
    return results  # type: ignore[return-value]


@pytest.fixture
def sides(tmp_path) -> Sides:
    return Sides(tmp_path, {SERVER: [], CLIENT: []})


def right(outcome: Outcome) -> bool:
    assert outcome.outputs is not None
    expected = simulate(tiny_plan(), tiny_weights(), tiny_feeds())[tiny_plan().outputs[0].value]
    return bool(np.abs(outcome.outputs["y"] - expected).max() < 0.15 * np.abs(expected).max())


def exact(report: dict[str, Any]) -> bool:
    """Prediction is measurement, in every phase and step."""
    rows = [*(report[p] | {"predicted": report["predicted"][p]} for p in PHASES), *report["steps"]]
    return all(all(row[k] == row["predicted"][k] for k in ("sent", "received", "flights")) for row in rows)


def test_prepared_material_answers_as_a_full_run_does(sides):
    made = fine(sides.both("prepare", both={"count": 2}))
    assert made[SERVER].material == made[CLIENT].material
    assert len(made[CLIENT].material) == 2
    assert all(exact(outcome.report) for outcome in made.values())
    assert all(outcome.report["online"]["sent"] == 0 for outcome in made.values())
    assert sides.ids(SERVER) == sides.ids(CLIENT) == set(made[CLIENT].material)
    used = set()
    for _ in range(2):
        outcomes = fine(sides.both("run"))
        assert right(outcomes[CLIENT])
        for outcome in outcomes.values():
            assert outcome.report["offline"] == {"seconds": 0, "sent": 0, "received": 0, "flights": 0}
            assert {row["step"] for row in outcome.report["steps"] if row["phase"] == "setup"} == {
                "handshake"
            }
            assert exact(outcome.report)
            assert outcome.report["material"] == list(outcome.material)
        assert outcomes[SERVER].material == outcomes[CLIENT].material
        used |= set(outcomes[CLIENT].material)
    assert used == set(made[CLIENT].material)
    last = fine(sides.both("run"))
    assert right(last[CLIENT])
    assert last[CLIENT].material == ()
    assert last[CLIENT].report["offline"]["sent"] > 0
    assert exact(last[CLIENT].report)


def test_online_bytes_are_those_of_a_full_run():
    whole, online, made = (
        predict_cost(tiny_plan(), program) for program in (FRESH, PREPARED, Program(preparations=1))
    )
    assert whole.total("online").bytes == online.total("online").bytes
    assert online.total("offline").bytes == 0
    stored = made.rows[Place("offline", "stored")].bytes
    assert made.total("offline").bytes == whole.total("offline").bytes + stored
    assert made.total("setup").bytes == whole.total("setup").bytes


def test_preparing_many_costs_one_setup():
    one, three = (predict_cost(tiny_plan(), Program(preparations=count)) for count in (1, 3))
    assert one.total("setup").bytes == three.total("setup").bytes
    assert 2 * one.total("offline").bytes < three.total("offline").bytes <= 3 * one.total("offline").bytes


@pytest.mark.parametrize(
    ("server", "client", "said"),
    [
        (1, 3, {SERVER: (1, 3), CLIENT: (3, 1)}),
        (3, 1, {SERVER: (3, 1)}),  # the client has what it wants
        (2, 2, {}),
    ],
)
def test_the_lower_count_holds_and_is_said(sides, server, client, said):
    made = fine(sides.both("prepare", server={"count": server}, client={"count": client}))
    lower = min(server, client)
    assert len(made[SERVER].material) == len(made[CLIENT].material) == lower
    assert exact(made[CLIENT].report)
    for role in Role:
        here, there = said.get(role, (0, 0))
        line = f"up to {here} here, {there} at the peer: {lower} are prepared"
        assert sides.said[role] == ([line] if role in said else [])


def test_material_is_of_the_length_that_runs(tmp_path):
    """A plan of two lengths, prepared for one of them: the other's prompts leave it alone, which is said."""
    plan, weights = merge_lengths([(tiny_plan("short"), tiny_weights()), (tiny_plan(), tiny_weights())])
    encoded = ClientInput.of(tiny_plan(), tiny_feeds()).encoded
    stores = {
        role: open_store(tmp_path / role.value, plan, weights if role is SERVER else None) for role in Role
    }

    def session(role: Role, sock: socket.socket) -> Session:
        held = weights if role is SERVER else None
        return Session(role, sock, plan, weights=held, store=stores[role], options=SessionOptions(timeout=20))

    def both(
        server: Callable[[Session], Outcome], client: Callable[[Session], Outcome]
    ) -> dict[Role, Outcome]:
        def run(role: Role, side: Callable[[Session], Outcome], sock: socket.socket) -> Outcome:
            with session(role, sock) as open:
                return side(open)

        return fine(two({SERVER: partial(run, SERVER, server), CLIENT: partial(run, CLIENT, client)}))

    for prepared, other in ((plan.shorter[0], plan), (plan, plan.shorter[0])):
        made = both(lambda s: s.prepare(1), lambda s, at=prepared: s.prepare(1, at))
        assert made[CLIENT].report["plan"] == prepared.hash
        with told() as said:
            left = both(lambda s: s.infer(), lambda s, at=other: s.infer(ClientInput(at, encoded)))
        assert left[CLIENT].material == left[SERVER].material == ()
        assert said == ["what is prepared here (1) is for other lengths than the one that runs"] * 2
        used = both(lambda s: s.infer(), lambda s, at=prepared: s.infer(ClientInput(at, encoded)))
        assert used[CLIENT].material == used[SERVER].material == made[CLIENT].material
        assert right(used[CLIENT])
        assert exact(used[CLIENT].report)


def test_fresh_leaves_material_alone(sides):
    fine(sides.both("prepare"))
    for role in Role:
        outcomes = fine(sides.both("run", **{role.value: {"fresh": True}}))
        assert right(outcomes[CLIENT])
        assert outcomes[CLIENT].material == ()
    assert len(sides.ids(SERVER)) == len(sides.ids(CLIENT)) == 1


def test_material_without_its_other_half_is_not_used(sides):
    fine(sides.both("prepare"))
    sides.store(SERVER).claim(bytes.fromhex(*sides.ids(SERVER)))
    outcomes = fine(sides.both("run"))
    assert right(outcomes[CLIENT])
    assert outcomes[CLIENT].material == ()
    assert sides.said[CLIENT] == ["the server holds none of the 1 prepared inferences here"]


@pytest.mark.parametrize("role", list(Role))
def test_damaged_material_is_passed_over_by_both(sides, role):
    """What the peer has claimed of it is lost; nothing but a full run follows."""
    fine(sides.both("prepare"))
    (path,) = (sides.path / role.value).iterdir()
    data = bytearray(path.read_bytes())
    data[-40] ^= 1
    path.write_bytes(data)
    outcomes = fine(sides.both("run"))
    assert right(outcomes[CLIENT])
    assert outcomes[CLIENT].material == outcomes[SERVER].material == ()
    assert exact(outcomes[CLIENT].report)
    assert exact(outcomes[SERVER].report)
    assert any("checksum does not match" in line for line in sides.said[role])
    assert sides.ids(role) == set()


def test_prepare_and_run_do_not_mix(sides):
    for server, client in (("prepare", "run"), ("run", "prepare")):
        results = sides.both("run", server={"verb": server}, client={"verb": client})
        assert {str(fault) for fault in results.values()} == {
            "this side runs `ppc run`, the peer `ppc prepare`",
            "this side runs `ppc prepare`, the peer `ppc run`",
        }
        assert all(isinstance(fault, PeerMismatch) for fault in results.values())


def test_concurrent_runs_take_different_material(sides):
    made = fine(sides.both("prepare", both={"count": 3}))
    results: list[dict[Role, Outcome | Exception]] = []
    threads = [threading.Thread(target=lambda: results.append(sides.both("run"))) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=60)
    used = [fine(result)[CLIENT].material for result in results]
    assert all(right(fine(result)[CLIENT]) for result in results)
    assert sorted(id for ids in used for id in ids) == sorted(made[CLIENT].material)
    assert all(result[SERVER].material == result[CLIENT].material for result in map(fine, results))


@pytest.mark.parametrize("picked", ["twice", "unknown"])
def test_a_server_cannot_pick_what_was_not_offered(sides, picked):
    """Nor what the client has claimed before."""
    (id,) = fine(sides.both("prepare"))[CLIENT].material
    if picked == "twice":
        fine(sides.both("run"))

    def stranger(sock: socket.socket) -> Any:
        channel = Channel(TcpTransport(sock, 20))
        hello = channel.recv(agreement.HELLO.size)
        channel.send(hello)
        channel.recv(agreement.ASK.size + agreement.GO_ON.size)
        named = bytes.fromhex(id) if picked == "twice" else b"?" * 16
        channel.send(agreement.PICK.pack(1, 1, named) + agreement.GO_ON.pack(*agreement.NO_TICKET))
        channel.close()

    results = two({SERVER: stranger, CLIENT: lambda sock: sides.side(CLIENT, "run", sock)})
    assert isinstance(results[CLIENT], PeerMismatch)
    assert "not offered" in str(results[CLIENT])


def test_a_client_cannot_claim_an_id_again(sides):
    """The server answers an old id with none."""
    (id,) = fine(sides.both("prepare"))[CLIENT].material
    fine(sides.both("run"))
    terms = agreement.InferenceTerms(sides.store(SERVER))
    asked = agreement.ASK.pack(1, 1, bytes.fromhex(id))
    assert agreement.PICK.unpack(terms.pick(asked, tiny_plan()))[1] == 0


def test_too_many_offers_are_refused(sides):
    with pytest.raises(PeerMismatch, match="more than"):
        agreement.InferenceTerms(sides.store(SERVER)).pick(
            agreement.ASK.pack(1, agreement.OFFERS + 1, b""), tiny_plan()
        )


def test_an_offer_is_bounded(sides):
    fine(sides.both("prepare"))
    store = sides.store(CLIENT)
    made = Held.of(list(store.claim(store.ids(1)[0]))[:1])
    for i in range(agreement.OFFERS + 5):
        store.draft(i.to_bytes(16, "big"), made).publish()
    _, count, body = agreement.ASK.unpack(agreement.InferenceTerms(store).ask())
    assert count == agreement.OFFERS
    assert len({body[i : i + 16] for i in range(0, len(body), 16)}) == agreement.OFFERS


def test_both_sides_choose_the_ids():
    """With one nonce fixed the ids still differ from session to session."""
    client, other = agreement.PreparationTerms(2), agreement.PreparationTerms(2)
    asked = client.ask()
    picks = [
        server.pick(asked, tiny_plan())
        for server in (agreement.PreparationTerms(2), agreement.PreparationTerms(2), other)
    ]
    ids = []
    for picked in picks:
        client.accept(picked)
        ids += client.ids
    assert client.ids == other.ids
    assert len(set(ids)) == 6


def test_who_prepares_says_what_it_holds_unless_there_may_be_more():
    """What it does not name may make room at the server, so a list that is cut names nothing."""

    def heard(terms: agreement.Terms) -> set[bytes] | None:
        return agreement.Request((agreement.MAGIC, agreement.VERSION, b"", b""), terms.ask()).held

    many = [i.to_bytes(16, "big") for i in range(1, agreement.OFFERS + 1)]
    for count in (0, 1, agreement.OFFERS - 2):
        assert heard(agreement.PreparationTerms(1, held=many[:count])) == set(many[:count])
    for count in (agreement.OFFERS - 1, agreement.OFFERS):
        assert heard(agreement.PreparationTerms(1, held=many[:count])) is None
    assert heard(agreement.InferenceTerms()) is None


def test_a_server_that_would_prepare_nothing_is_refused():
    for count in (0, 3):
        with pytest.raises(PeerMismatch, match="would prepare"):
            agreement.PreparationTerms(2).accept(agreement.PICK.pack(2, count, b""))


# One side dies


def killed(sides: Sides, verb: str, role: Role, call: str, when: str) -> Outcome | Exception:
    """A session in which ``role`` is a process of its own and kills itself; what the other side had.

    The dying side connects; who called whom does not matter to a session.
    """
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        words = [verb, role.value, str(port), str(sides.path / role.value), call, when]
        child = subprocess.Popen([sys.executable, str(ROOT / "tests/tools/crashing.py"), *words], cwd=ROOT)
        listener.settimeout(30)  # a child that fails to start must not hold the tests
        sock = listener.accept()[0]
    try:
        return sides.side(role.other, verb, sock)
    except Exception as fault:
        return fault
    finally:
        assert child.wait(timeout=30) == -signal.SIGKILL


@pytest.mark.parametrize("role", list(Role))
@pytest.mark.parametrize(
    ("call", "when"), [("write", "before"), ("fsync", "after"), ("rename", "before"), ("fsync:2", "before")]
)
def test_who_dies_preparing_leaves_the_other_usable(sides, role, call, when):
    fine(sides.both("prepare"))
    result = killed(sides, "prepare", role, call, when)
    published = when == "before" and call == "fsync:2"
    assert isinstance(result, NetworkFault) or call in ("rename", "fsync:2")
    assert len(sides.ids(role)) == 1 + published
    if call in ("write", "fsync"):
        assert len(sides.ids(role.other)) == 1, "published what the peer had not written"
    both = sides.ids(SERVER) & sides.ids(CLIENT)  # what the dying side said last may be lost
    assert len(both) in (1, 1 + published)
    used = set()
    while sides.ids(SERVER) & sides.ids(CLIENT):
        outcomes = fine(sides.both("run"))
        assert right(outcomes[CLIENT])
        assert not used & set(outcomes[CLIENT].material)
        used |= set(outcomes[CLIENT].material)
    assert used == both
    assert right(fine(sides.both("run"))[CLIENT])


@pytest.mark.parametrize("role", list(Role))
@pytest.mark.parametrize(("call", "when"), [("rename", "before"), ("rename", "after"), ("unlink", "before")])
def test_who_dies_claiming_uses_nothing_twice(sides, role, call, when):
    (id,) = fine(sides.both("prepare"))[CLIENT].material
    result = killed(sides, "run", role, call, when)
    assert isinstance(result, NetworkFault)
    survives = when == "before" and call == "rename"
    assert sides.ids(role) == ({id} if survives else set())
    outcomes = fine(sides.both("run"))
    assert right(outcomes[CLIENT])
    # the server claims first, so a client that dies has cost it its half
    assert outcomes[CLIENT].material == ((id,) if survives and role is SERVER else ())
    assert not any(path.suffix == ".claimed" for path in sides.path.rglob("*"))
