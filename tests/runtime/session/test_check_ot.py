"""Connections on which OT extension is checked: agreed on, priced, and ended where a check fails."""

from __future__ import annotations

import threading
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
from frames import tcp_pair
from sides import serving_here, told
from tiny import tiny_feeds, tiny_plan, tiny_weights

from ppc.runtime import _ot
from ppc.runtime.base.errors import NetworkFault, PeerDeviates, PeerMismatch
from ppc.runtime.net.frame import HEADER
from ppc.runtime.ot.extension import COLUMNS
from ppc.runtime.party.ledger import PHASES, Ledger
from ppc.runtime.party.role import CLIENT, SERVER, Role
from ppc.runtime.service.client import Client
from ppc.runtime.service.options import SessionOptions
from ppc.runtime.service.report import Outcome
from ppc.runtime.service.server import Server
from ppc.runtime.service.session import Session
from ppc.runtime.service.shelf import open_store
from ppc.runtime.session.connection import FRESH, PREPARED, Program, predict_cost
from ppc.runtime.session.facts import Facts, facts
from ppc.runtime.session.inputs import ClientInput
from ppc.runtime.session.simulate import simulate

ON = SessionOptions(timeout=20, check_ot=True)
OFF = SessionOptions(timeout=20)
BOTH_ON = {SERVER: ON, CLIENT: ON}

Side = Callable[[Session], object]


def talk(
    server: Side, client: Side, options: dict[Role, SessionOptions], stores: Path | None = None
) -> dict[Role, object]:
    """What both say, or the fault of each, on one connection."""
    ends, found = dict(zip(Role, tcp_pair(), strict=True)), {}

    def run(role: Role, side: Side) -> None:
        weights = tiny_weights() if role is SERVER else None
        checks = options[role].check_ot
        store = stores and open_store(stores / role.value, tiny_plan(), weights, check_ot=checks)
        try:
            with Session(
                role, ends[role], tiny_plan(), weights=weights, store=store, options=options[role]
            ) as session:
                found[role] = side(session)
        except Exception as fault:
            found[role] = fault

    threads = [
        threading.Thread(target=run, args=(role, side), name=role.value)
        for role, side in ((SERVER, server), (CLIENT, client))
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=60)
    assert not any(thread.is_alive() for thread in threads)
    return found


def fine(found: dict[Role, object]) -> dict[Role, list[Outcome]]:
    for each in found.values():
        if isinstance(each, Exception):
            raise each
    return found  # type: ignore[return-value]


def asks(session: Session, times: int = 1) -> list[Outcome]:
    return [session.infer(ClientInput.of(tiny_plan(), tiny_feeds())) for _ in range(times)]


def answers(session: Session) -> list[Outcome]:
    found = []
    while (outcome := session.answer()) is not None:
        found.append(outcome)
    return found


def as_foretold(outcome: Outcome) -> bool:
    report = outcome.report
    rows = [*(report[p] | {"predicted": report["predicted"][p]} for p in PHASES), *report["steps"]]
    return all(row[k] == row["predicted"][k] for row in rows for k in ("sent", "received", "flights"))


def right(outcome: Outcome) -> bool:
    assert outcome.outputs is not None
    expected = simulate(tiny_plan(), tiny_weights(), tiny_feeds())[tiny_plan().outputs[0].value]
    return bool(abs(outcome.outputs["y"] - expected).max() < 0.15 * abs(expected).max())


def test_checked_inferences_are_right_and_cost_what_was_foretold():
    """The connection's first, and one after it."""
    found = fine(talk(answers, partial(asks, times=2), BOTH_ON))
    for outcomes in found.values():
        assert len(outcomes) == 2
        assert all(as_foretold(outcome) for outcome in outcomes)
        assert all(outcome.done.program.check_ot for outcome in outcomes)
    assert all(right(outcome) for outcome in found[CLIENT])


@pytest.mark.long
def test_checked_material_is_prepared_and_used_at_its_price(tmp_path):
    def server(session: Session) -> list[Outcome]:
        return [session.prepare(2), *(session.infer() for _ in range(3))]

    def client(session: Session) -> list[Outcome]:
        return [session.prepare(2), *asks(session, 3)]

    for outcomes in fine(talk(server, client, BOTH_ON, tmp_path)).values():
        assert all(as_foretold(outcome) for outcome in outcomes)
        assert [len(outcome.material) for outcome in outcomes] == [2, 1, 1, 0]


def sizes(ledger: Ledger) -> dict[str, tuple[int, int, int]]:
    totals = {phase: ledger.total(phase) for phase in PHASES}
    return {phase: (cost.server, cost.client, cost.flights) for phase, cost in totals.items()}


def test_what_a_check_costs_is_known_to_the_byte():
    """The tiny plan takes IKNP alone: a group of columns, hashes, a header, from either side; no flight."""
    more = COLUMNS * 16 + 128 * 16 + HEADER.size
    off, on = (sizes(predict_cost(tiny_plan(), Program(check_ot=check))) for check in (False, True))
    assert off == sizes(predict_cost(tiny_plan(), FRESH))
    server, client, flights = off["offline"]
    assert on == off | {"offline": (server + more, client + more, flights)}


def test_a_prepared_inference_costs_the_same_with_a_check():
    prepared = predict_cost(tiny_plan(), Program(prepared=True, check_ot=True))
    assert sizes(prepared) == sizes(predict_cost(tiny_plan(), PREPARED))


@pytest.mark.parametrize("checks", list(Role))
def test_a_disagreement_is_named_on_both_sides(checks):
    found = talk(answers, asks, {checks: ON, checks.other: OFF})
    assert all(isinstance(fault, PeerMismatch) for fault in found.values())
    remedy = "give it to both sides or to neither"
    assert str(found[checks]) == f"this side runs with --check-ot, the peer without; {remedy}"
    assert str(found[checks.other]) == f"this side runs without --check-ot, the peer with; {remedy}"


def test_other_parameters_are_still_other_parameters(monkeypatch):
    """Of a peer that checks as this side does."""
    real = Facts.digest_for

    def digest_for(self: Facts, check_ot: bool) -> bytes:
        return bytes(32) if threading.current_thread().name == "client" else real(self, check_ot)

    monkeypatch.setattr(Facts, "digest_for", digest_for)
    for fault in talk(answers, asks, BOTH_ON).values():
        assert isinstance(fault, PeerMismatch)
        assert str(fault).startswith("parameters differ")


def test_the_two_ways_have_different_parameters():
    known = facts(tiny_plan())
    assert known.digest_for(False) == known.digest != known.checked_digest == known.digest_for(True)


@pytest.mark.long
@pytest.mark.parametrize("checked_later", [False, True])
def test_material_is_not_used_the_other_way(tmp_path, checked_later):
    """Unchecked material is none for who asks for checks."""
    first, then = ((ON, OFF), (OFF, ON))[checked_later]
    prepare = partial(Session.prepare, count=1)
    fine(talk(prepare, prepare, dict.fromkeys(Role, first), tmp_path))
    with told("client") as said:
        found = fine(talk(answers, asks, dict.fromkeys(Role, then), tmp_path))
    assert found[CLIENT][0].material == ()
    assert any("--check-ot" in line for line in said)
    assert fine(talk(answers, asks, dict.fromkeys(Role, first), tmp_path))[CLIENT][0].material


# ---- a client that deviates


def deviate(patch: pytest.MonkeyPatch, role: Role) -> None:
    """``role`` says columns of which no two carry the same choices."""
    real = _ot.iknp_receive

    def receive(*args):
        message, rows = real(*args)
        if threading.current_thread().name == role.value:
            message = message.copy()
            message.reshape(COLUMNS, -1)[:, :16] ^= _ot.aes_ctr(args[0][:16], 0, COLUMNS).reshape(COLUMNS, 16)
        return message, rows

    patch.setattr(_ot, "iknp_receive", receive)


@pytest.mark.parametrize("role", list(Role))
def test_a_peer_that_deviates_ends_the_connection_for_good(monkeypatch, role):
    deviate(monkeypatch, role)
    again: list[BaseException] = []

    def twice(side: Side, session: Session) -> object:
        try:
            return side(session)
        except PeerDeviates:
            with pytest.raises(NetworkFault) as closed:
                side(session)
            again.append(closed.value)
            raise

    found = talk(partial(twice, answers), partial(twice, asks), BOTH_ON)
    caught = found[role.other]
    assert isinstance(caught, PeerDeviates)
    assert caught.exit_status == 4
    assert str(caught) == "the peer's OT extension fails its check: not all columns carry the same choices"
    assert isinstance(found[role], NetworkFault)
    assert len(again) == 1


def test_without_the_check_nobody_notices(monkeypatch):
    deviate(monkeypatch, CLIENT)
    fine(talk(answers, asks, dict.fromkeys(Role, OFF)))


def test_a_server_outlives_a_client_that_deviates(monkeypatch):
    server = Server(tiny_plan(), tiny_weights(), ON)
    with serving_here(server, once=False) as (address, said):
        with monkeypatch.context() as patch:
            deviate(patch, CLIENT)
            thread = threading.current_thread()
            name, thread.name = thread.name, CLIENT.value
            try:
                with pytest.raises(NetworkFault):
                    Client(tiny_plan(), ON).run(tiny_feeds(), address)
            finally:
                thread.name = name
        assert right(Client(tiny_plan(), ON).run(tiny_feeds(), address))
        assert sum("fails its check" in line for line in said) == 1
