"""What cannot be computed is refused before anything is sent: no byte, no material, no trace elsewhere."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from command import called
from frames import tcp_pair
from sides import prepare, serving_here
from tiny import tiny_plan, tiny_weights

from ppc.runtime.base.errors import BadInput, BadPlan, NetworkFault, RangeFault
from ppc.runtime.base.ring import Fixed
from ppc.runtime.party.role import CLIENT, Role
from ppc.runtime.plan import steps
from ppc.runtime.plan.file import InputSpec, Options, OutputSpec, Plan, load_weights, save, save_weights
from ppc.runtime.plan.local import Input
from ppc.runtime.service.client import Client
from ppc.runtime.service.options import SessionOptions
from ppc.runtime.service.server import Server
from ppc.runtime.service.session import Session
from ppc.runtime.service.shelf import open_store
from ppc.runtime.session import facts as facts_module
from ppc.runtime.session.inputs import ClientInput

F = Fixed(26, 8)
PATIENT = SessionOptions(timeout=20)
Feeds = dict[str, np.ndarray]


def floats() -> Plan:
    """x² + late: what can be wrong with an input enters before, and after, a step that talks."""
    return Plan(
        model="floats",
        profile="exact",
        options=Options(seq_len=4, byte_price=1e-7),
        inputs=(InputSpec("x", (1, 4), "float"), InputSpec("late", (1, 4), "float")),
        outputs=(OutputSpec("y", 5, (1, 4)),),
        weights=(),
        local=(Input("x"), Input("late")),
        steps=(
            steps.Encode(name="/in/x", local=0, num=F, shape=(1, 4)),
            steps.Square(x=0),
            steps.Rescale(x=1, num=F),
            steps.Encode(name="/in/late", local=1, num=F, shape=(1, 4)),
            steps.Add(a=2, b=3),
            steps.Output(name="y", x=4),
        ),
    )


def feeds(late: float = 1.0) -> Feeds:
    return {"x": np.full((1, 4), 2.0), "late": np.full((1, 4), late)}


TOO_LARGE = r"the client's value '/in/late': 7\.7e\+09 does not fit i26f8"


class Deaf:
    """A port at which nobody answers; it knows how many have come."""

    def __init__(self, listener: socket.socket) -> None:
        listener.setblocking(False)
        self._listener = listener
        self.address = listener.getsockname()[:2]

    def came(self) -> int:
        count = 0
        with contextlib.suppress(BlockingIOError):
            while self._listener.accept():
                count += 1
        return count


ASKS: dict[str, Callable[[Client, Feeds, Any], object]] = {
    "run": lambda client, bad, at: client.run(bad, at),
    "run_all": lambda client, bad, at: client.run_all([bad], at),
    "run_all, a later one": lambda client, bad, at: client.run_all([feeds(), feeds(), bad], at),
    "run_all, made by and by": lambda client, bad, at: client.run_all(iter([feeds(), bad]), at),
}


@pytest.mark.parametrize("ask", ASKS.values(), ids=ASKS)
@pytest.mark.parametrize(
    ("late", "fault", "status"),
    [(7.7e9, RangeFault, 6), (np.nan, BadInput, 2)],
    ids=["range", "nan"],
)
def test_a_bad_input_is_refused_before_anyone_is_called(ask, late, fault, status):
    with socket.create_server(("127.0.0.1", 0)) as listener:
        deaf = Deaf(listener)
        client = Client(floats(), SessionOptions(timeout=1), patience=0.1)
        with pytest.raises(fault) as said:
            ask(client, feeds(late), deaf.address)
        assert deaf.came() == 0
    assert said.value.exit_status == status


def test_a_bad_sample_is_told_by_its_place():
    with pytest.raises(RangeFault, match=rf"^samples\[1\]: {TOO_LARGE}"):
        Client(floats()).run_all([feeds(), feeds(7.7e9)])
    with pytest.raises(RangeFault, match=f"^{TOO_LARGE}"):
        Client(floats()).run_all([feeds(7.7e9)])


def test_nothing_asked_is_nothing_sent():
    assert list(Client(floats(), patience=0.1).run_all([], ("127.0.0.1", 1))) == []


def prepared(folder: Path) -> None:
    """One inference's material in ``folder``/server and ``folder``/client."""
    ends, plan = dict(zip(Role, tcp_pair(), strict=True)), floats()
    stores = {r: open_store(folder / r.value, plan, None if r is CLIENT else {}) for r in Role}
    threads = [
        threading.Thread(target=prepare, args=(ends[r], plan, stores[r], 1, None if r is CLIENT else {}, 20))
        for r in Role
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def test_a_refused_input_leaves_material_where_it_is(tmp_path):
    prepared(tmp_path)
    kept = {path.name for path in tmp_path.glob("*/*")}
    assert len(kept) == 2
    server = Server(floats(), {}, PATIENT, store=tmp_path / "server")
    with serving_here(server) as (address, said):
        client = Client(floats(), PATIENT, store=tmp_path / "client")
        with pytest.raises(RangeFault, match=TOO_LARGE):
            client.run(feeds(7.7e9), address)
        assert {path.name for path in tmp_path.glob("*/*")} == kept
        assert len(said) == 1  # that it serves
        outcome = client.run(feeds(), address)
    assert {name.partition(".")[0] for name in kept} == set(outcome.material)
    assert outcome.outputs["y"] == pytest.approx(5, abs=0.1)


def test_a_refused_input_leaves_a_connection_as_it_is():
    ends = dict(zip(Role, tcp_pair(), strict=True))
    served: list[object] = []

    def server() -> None:
        with Session(Role.SERVER, ends[Role.SERVER], floats(), weights={}, options=PATIENT) as session:
            while (outcome := session.answer()) is not None:
                served.append(outcome)

    thread = threading.Thread(target=server)
    thread.start()
    with Session(Role.CLIENT, ends[Role.CLIENT], floats(), options=PATIENT) as session:
        session.infer(ClientInput.of(floats(), feeds()))
        with pytest.raises(RangeFault, match=TOO_LARGE):
            session.infer(ClientInput.of(floats(), feeds(7.7e9)))
        outcome = session.infer(ClientInput.of(floats(), feeds(2.0)))
    thread.join()
    assert outcome.outputs["y"] == pytest.approx(6, abs=0.1)
    assert len(served) == 2


# ---- the server


def changed(name: str, **entries: Any) -> dict[str, np.ndarray]:
    weights = tiny_weights()
    weights[name] = weights[name].copy()
    weights[name].flat[0] = entries["first"]
    return weights


def test_weights_beyond_a_promise_are_refused_before_listening():
    Server(tiny_plan(), tiny_weights())
    long = changed("table", first=255)
    long["table"][:] = 255
    Server(tiny_plan(), long)  # 11 rows: a norm of 846
    plan = with_norm(9)
    Server(plan, {**long, "table": long["table"] // 2})
    with pytest.raises(RangeFault, match=r"matrix 'table' has a norm above 2\^9"):
        Server(plan, long)
    with pytest.raises(RangeFault, match="'gamma' does not fit the 8 bits"):
        Server(with_gamma(8), changed("gamma", first=130))
    Server(with_gamma(8), tiny_weights())


def with_norm(bits: int) -> Plan:
    return _replaced(1, lambda step: {"product": replace(step.product, norm_bits=bits)})


def with_gamma(bits: int) -> Plan:
    return _replaced(5, lambda step: {"weight_bits": bits})


def _replaced(at: int, change: Callable[[Any], dict[str, Any]]) -> Plan:
    plan = tiny_plan()
    changed = list(plan.steps)
    changed[at] = msgspec.structs.replace(changed[at], **change(changed[at]))
    return msgspec.structs.replace(plan, steps=tuple(changed))


@pytest.mark.parametrize(
    ("weights", "said"),
    [
        (changed("bias", first=257), "'bias' does not fit the 9 bits"),
        ({k: v for k, v in tiny_weights().items() if k != "bias"}, "'bias' is missing"),
        ({**tiny_weights(), "bias": np.zeros(7, np.int64)}, r"'bias' has shape \(7,\)"),
        ({**tiny_weights(), "bias": np.zeros(6)}, "'bias' holds float64"),
    ],
)
def test_weights_that_are_not_the_plans_are_refused_before_listening(weights, said, tmp_path):
    with pytest.raises(BadPlan, match=said):
        Server(tiny_plan(), weights)
    if "bits" in said:
        save_weights(weights, tiny_plan(), tmp_path / "plan.weights")
        with pytest.raises(BadPlan, match=said):
            load_weights(tmp_path / "plan.weights", tiny_plan())


# ---- and before the server waits


def test_what_takes_a_client_time_is_done_before_it_calls(monkeypatch):
    """A server that has let it in gives it seconds for its opening; deriving parameters may take longer."""
    found: list[bool] = []

    def call(address: object, patience: float) -> None:
        found.append("digest" in vars(facts_module.facts(floats())))
        raise NetworkFault("nobody there")

    monkeypatch.setattr(facts_module, "_kept", {})
    monkeypatch.setattr("ppc.runtime.service.lines.connect", call)
    for ask in (Client(floats()).run, lambda given: next(iter(Client(floats()).run_all([given])))):
        with pytest.raises(NetworkFault):
            ask(feeds())
    assert found == [True, True]


@pytest.mark.long
def test_the_command_says_so_with_status_6(tmp_path):
    save(floats(), tmp_path / "plan.bin")
    np.savez(tmp_path / "in.npz", **feeds(7.7e9))
    asked = ("run", tmp_path / "plan.bin", "--role", "client", "--connect", "127.0.0.1:1")
    called(*asked, "--input", tmp_path / "in.npz").failed(6, TOO_LARGE)
