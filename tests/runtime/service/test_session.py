"""Several programs on one connection: setup paid once, costs as foretold, and how a connection ends."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from math import inf

import msgspec
import numpy as np
import pytest
from frames import tcp_pair
from sides import serving_here
from tiny import tiny_feeds, tiny_plan, tiny_weights

from ppc.backend.merge_lengths import merge_lengths
from ppc.runtime.base.errors import NetworkFault, PeerMismatch, RangeFault
from ppc.runtime.cost.rates import he_seconds
from ppc.runtime.he.params import PARAMETER_SETS
from ppc.runtime.he.product import Product, parameter_sets, public_key_bytes
from ppc.runtime.he.tiling import plan_product
from ppc.runtime.net.frame import HEADER
from ppc.runtime.party.ledger import PHASES
from ppc.runtime.party.role import Role
from ppc.runtime.plan.file import Plan, Weights
from ppc.runtime.service.client import Client
from ppc.runtime.service.options import SessionOptions
from ppc.runtime.service.report import Outcome
from ppc.runtime.service.server import Server
from ppc.runtime.service.session import Session
from ppc.runtime.service.shelf import open_store
from ppc.runtime.session import connection, executor, inputs
from ppc.runtime.session import facts as facts_module
from ppc.runtime.session.connection import HANDSHAKE, REQUEST, Program, predict_cost
from ppc.runtime.session.engines import Ready
from ppc.runtime.session.held import Held
from ppc.runtime.session.inputs import ClientInput
from ppc.runtime.session.material import Store
from ppc.runtime.session.simulate import simulate

READY = Ready(frozenset(Role), frozenset(each.params for each in tiny_plan().products))


def talk(
    server: Callable[[Session], object],
    client: Callable[[Session], object],
    plan: Plan | None = None,
    weights: Weights | None = None,
    stores: Mapping[Role, Store] | None = None,
    memory: float = inf,
) -> tuple[object, object]:
    """What both say who run these over one connection; a fault is raised, the client's first."""
    ends, found = dict(zip(Role, tcp_pair(), strict=True)), {}
    plan, weights, options = (
        plan or tiny_plan(),
        weights or tiny_weights(),
        SessionOptions(timeout=20, memory=memory),
    )

    def run(role: Role, side: Callable[[Session], object]) -> None:
        held = weights if role is Role.SERVER else None
        store = stores[role] if stores else None
        try:
            with Session(role, ends[role], plan, weights=held, store=store, options=options) as session:
                found[role] = side(session)
        except Exception as fault:
            found[role] = fault

    threads = [threading.Thread(target=run, args=each) for each in zip(Role, (server, client), strict=True)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=60)
    assert not any(thread.is_alive() for thread in threads)
    for role in (Role.CLIENT, Role.SERVER):
        if isinstance(found[role], Exception):
            raise found[role]
    return found[Role.SERVER], found[Role.CLIENT]


def all_asked(session: Session) -> list[Outcome]:
    found = []
    while (outcome := session.answer()) is not None:
        found.append(outcome)
    return found


def given(plan: Plan | None = None) -> ClientInput:
    return ClientInput.of(plan or tiny_plan(), tiny_feeds())


def close_to_the_simulator(outcome: Outcome) -> bool:
    expected = simulate(tiny_plan(), tiny_weights(), tiny_feeds())[tiny_plan().outputs[0].value]
    return bool(np.abs(outcome.outputs["y"] - expected).max() < 0.15 * np.abs(expected).max())


def as_foretold(outcome: Outcome) -> bool:
    report = outcome.report
    rows = [*(report[p] | {"predicted": report["predicted"][p]} for p in PHASES), *report["steps"]]
    return all(row[k] == row["predicted"][k] for row in rows for k in ("sent", "received", "flights"))


def test_a_second_inference_pays_no_setup():
    asked = talk(all_asked, lambda session: [session.infer(given()) for _ in range(3)])
    for outcomes in asked:
        assert len(outcomes) == 3
        assert all(as_foretold(outcome) for outcome in outcomes)
        first, *later = (outcome.report for outcome in outcomes)
        assert first["setup"]["sent"] + first["setup"]["received"] > 40_000
        for report in later:
            assert (report["setup"]["sent"], report["setup"]["received"], report["setup"]["flights"]) == (
                0,
                0,
                0,
            )
            assert report["online"]["sent"] == first["online"]["sent"]
    assert all(close_to_the_simulator(outcome) for outcome in asked[1])


def test_what_a_second_inference_saves_is_its_setup():
    fresh, further = predict_cost(tiny_plan()), predict_cost(tiny_plan(), Program(further=True, ready=READY))
    opening = further.rows[REQUEST].bytes
    assert further.total("setup").bytes == 0
    assert opening == fresh.rows[HANDSHAKE].bytes
    assert further.total("offline").bytes == fresh.total("offline").bytes + opening
    assert further.total("online").bytes == fresh.total("online").bytes


@pytest.mark.long
def test_a_shorter_length_on_the_same_connection_brings_only_its_own_keys():
    long, short = tiny_plan("long"), with_other_parameters(tiny_plan("short"))
    plan, weights = merge_lengths([(short, tiny_weights()), (long, tiny_weights())])

    def client(session: Session) -> list[Outcome]:
        same = given().encoded  # both lengths are as long, so that the choice is the test's
        order = (plan, plan.shorter[0], plan, plan.shorter[0])
        return [session.infer(ClientInput(each, same)) for each in order]

    served, asked = talk(all_asked, client, plan, weights)
    assert all(as_foretold(outcome) for outcome in (*served, *asked))
    said = [outcome.report["setup"]["sent"] for outcome in asked]
    keys = sum(public_key_bytes(params) for params in parameter_sets(short.products)) + HEADER.size
    assert said[1:] == [keys, 0, 0]
    assert [outcome.report["plan"] for outcome in asked] == [plan.hash, plan.shorter[0].hash] * 2


def with_other_parameters(plan: Plan) -> Plan:
    """The same plan, its products under keys that the original has none of."""
    known = {each.params for each in plan.products}

    def changed(product: Product) -> Product:
        sets = tuple(each for each in PARAMETER_SETS if each not in known)
        b, m, k, n, ell = product.batch, product.m, product.k, product.n, product.ell
        return plan_product(b, m, k, n, ell, he_seconds, norm_bits=product.norm_bits, params=sets)

    program = []
    for step in plan.steps:
        for name in ("product", "left", "right"):
            if getattr(step, name, None) is not None:
                step = msgspec.structs.replace(step, **{name: changed(getattr(step, name))})
        program.append(step)
    return msgspec.structs.replace(plan, steps=tuple(program))


@pytest.mark.long
def test_what_is_prepared_on_a_connection_can_be_used_on_it(tmp_path):
    stores = {role: open_store(tmp_path / role.value, tiny_plan(), held(role)) for role in Role}

    def server(session: Session) -> list[Outcome]:
        return [session.prepare(2), *(session.infer() for _ in range(3))]

    def client(session: Session) -> list[Outcome]:
        return [session.prepare(2), *(session.infer(given()) for _ in range(3))]

    for outcomes in talk(server, client, stores=stores):
        assert all(as_foretold(outcome) for outcome in outcomes)
        made, *used, last = outcomes
        assert {outcome.material[0] for outcome in used} == set(made.material)
        assert last.material == ()
        for outcome in used:
            steps = [row["step"] for row in outcome.report["steps"] if row["phase"] == "offline"]
            assert steps == ["request"]
        assert last.report["setup"]["sent"] == last.report["setup"]["received"] == 0


def held(role: Role) -> Weights | None:
    return tiny_weights() if role is Role.SERVER else None


@pytest.mark.long
def test_prepared_material_needs_no_keys_and_leaves_them_to_the_next(tmp_path):
    """A connection that began with prepared material pays its setup when it first needs one."""
    stores = {role: open_store(tmp_path / role.value, tiny_plan(), held(role)) for role in Role}
    talk(lambda session: session.prepare(1), lambda session: session.prepare(1), stores=stores)
    served, asked = talk(all_asked, lambda session: [session.infer(given()) for _ in range(2)], stores=stores)
    for first, second in (served, asked):
        assert as_foretold(first)
        assert as_foretold(second)
        assert len(first.material) == 1
        assert {r["step"] for r in second.report["steps"] if r["phase"] == "setup"} >= {"HE public keys"}
        assert second.report["setup"]["sent"] > 0


def test_a_fault_ends_the_connection_for_good():
    """At once, and not because two sides out of step wait for each other until they give up."""

    def server(session: Session) -> None:
        with pytest.raises(RangeFault):
            session.infer()
        with pytest.raises(NetworkFault, match=r"closed|broke"):
            session.infer()

    def client(session: Session) -> None:
        for _ in range(2):
            with pytest.raises(NetworkFault, match=r"closed|broke"):
                session.infer(given())

    talk(server, client, weights={**tiny_weights(), "table": np.full((11, 6), 77777)})


def test_a_client_that_leaves_in_the_middle_is_a_fault_and_one_that_is_done_is_none():
    def leaves(session: Session) -> None:
        session.infer(given())
        session._channel.send(b"half of a handshake")

    with pytest.raises(PeerMismatch):
        talk(all_asked, leaves)
    served, _ = talk(all_asked, lambda session: session.infer(given()))
    assert len(served) == 1
    with pytest.raises(NetworkFault):
        talk(all_asked, lambda session: None)


@pytest.mark.long
def test_a_client_that_stays_without_asking_is_let_go():
    """After its inference nothing is owed to it: its silence ends the connection, and is no fault."""
    ends = tcp_pair()
    found: list[Outcome] = []

    def server() -> None:
        options = SessionOptions(timeout=0.5)
        with Session(Role.SERVER, ends[0], tiny_plan(), weights=tiny_weights(), options=options) as session:
            found.extend(all_asked(session))

    thread = threading.Thread(target=server)
    thread.start()
    with Session(Role.CLIENT, ends[1], tiny_plan(), options=SessionOptions(timeout=20)) as session:
        session.infer(given())
        thread.join(timeout=20)
        assert not thread.is_alive()
        with pytest.raises(NetworkFault):
            session.infer(given())
    assert len(found) == 1


def test_a_server_answers_all_that_a_client_asks_on_one_connection():
    patient, reports = SessionOptions(timeout=20), []
    server = Server(tiny_plan(), tiny_weights(), patient)
    with serving_here(server, once=False, done=reports.append) as (address, said):
        outcomes = list(Client(tiny_plan(), patient).run_all([tiny_feeds()] * 3, address))
        again = Client(tiny_plan(), patient).run(tiny_feeds(), address)
        assert all(close_to_the_simulator(outcome) for outcome in (*outcomes, again))
        assert [outcome.report["setup"]["sent"] > 0 for outcome in (*outcomes, again)] == [
            True,
            False,
            False,
            True,
        ]
        assert not any("failed" in line for line in said)
    assert len(reports) == 4


@pytest.mark.parametrize("memory", [0.0, 2_000.0])
def test_what_memory_does_not_hold_waits_on_disk(memory, monkeypatch):
    """Two inferences whose material goes through a file, at the price of any other."""
    spilled, real = [], Held._spill
    monkeypatch.setattr(Held, "_spill", lambda self, *made: spilled.append(0) or real(self, *made))
    _, client = talk(all_asked, lambda session: [session.infer(given()) for _ in range(2)], memory=memory)
    assert all(map(close_to_the_simulator, client))
    assert client[0].done.ledger.total("offline").bytes == predict_cost(tiny_plan()).total("offline").bytes
    assert spilled


def test_facts_of_a_plan_are_found_once(monkeypatch):
    """A process that has met a plan walks it no more for its digest, its OTs or its price."""
    talk(all_asked, lambda session: [session.infer(given()).report for _ in range(2)])
    walked = []
    real = executor.offline

    def counted(p, *rest, **more):
        walked.append(p.role)
        return real(p, *rest, **more)

    monkeypatch.setattr(facts_module, "offline", counted)
    monkeypatch.setattr(connection, "offline", counted)
    talk(
        lambda session: [outcome.done for outcome in all_asked(session)],
        lambda session: [session.infer(given()).done for _ in range(2)],
    )
    assert sorted(walked, key=str) == sorted([*Role, *Role], key=str)


def test_inputs_are_checked_once(monkeypatch):
    checked = []
    real = inputs.check_inputs
    monkeypatch.setattr(inputs, "check_inputs", lambda *args: checked.append(1) or real(*args))
    server = Server(tiny_plan(), tiny_weights(), SessionOptions(timeout=20))
    with serving_here(server) as (address, _):
        Client(tiny_plan(), SessionOptions(timeout=20)).run(tiny_feeds(), address)
    assert checked == [1]
