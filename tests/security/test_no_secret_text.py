"""What is printed, logged or raised holds no secret: neither the text of an object of a run, nor a fault."""

from __future__ import annotations

import ast
import gc
import re
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pytest
from frames import Frame, _frame, session, succeeded, watched
from stepwise import Keeping
from tiny import VOCABULARY, tiny_feeds, tiny_plan, tiny_weights

import ppc.backend
import ppc.runtime
from ppc.backend.compile import Compiled
from ppc.runtime.base.errors import BadInput, NetworkFault, PeerMismatch, RangeFault, RuntimeFault
from ppc.runtime.net.channel import Channel
from ppc.runtime.net.network import LOOPBACK
from ppc.runtime.party.ledger import Ledger
from ppc.runtime.party.party import Party, together
from ppc.runtime.party.role import CLIENT, SERVER, Role
from ppc.runtime.service.client import Client
from ppc.runtime.service.report import Outcome
from ppc.runtime.service.server import Server
from ppc.runtime.session.connection import FRESH, Connection, Done
from ppc.runtime.session.engines import standard
from ppc.runtime.session.executor import offline, online, setup
from ppc.runtime.session.facts import facts
from ppc.runtime.session.inputs import ClientInput

pytestmark = pytest.mark.long

ROOMS = [Path(ppc.runtime.__file__).parent, Path(ppc.backend.__file__).parent]
DATA = {
    "Ring",
    "Bits",
    "Bytes",
    "Buffer",
    "NDArray",
    "Array",
    "Keys",
    "Weights",
    "Outputs",
    "Integers",
    "Floats",
    "Signed",
    "bytes",
    "ndarray",
}
PUBLIC = {"Binding": "the hash of the plan and what names a run"}


@dataclass(frozen=True)
class Record:
    """A dataclass as its source declares it."""

    name: str
    types: frozenset[str]
    prints: bool


@cache
def records(*rooms: Path) -> list[Record]:
    """Every dataclass of the rooms."""
    found = []
    for path in sorted(path for room in rooms for path in room.rglob("*.py")):
        for cls in ast.walk(ast.parse(path.read_text())):
            if isinstance(cls, ast.ClassDef) and (made := _decorator(cls)) is not None:
                types = {
                    name
                    for field in cls.body
                    if isinstance(field, ast.AnnAssign)
                    for name in _names(field.annotation)
                }
                own = any(isinstance(each, ast.FunctionDef) and each.name == "__repr__" for each in cls.body)
                found.append(Record(cls.name, frozenset(types), "repr=False" not in made and not own))
    return found


def _decorator(cls: ast.ClassDef) -> str | None:
    return next((ast.unparse(d) for d in cls.decorator_list if ast.unparse(d).startswith("dataclass")), None)


def _names(annotation: ast.expr) -> set[str]:
    return set(re.findall(r"\w+", ast.unparse(annotation)))


def secret_records(*rooms: Path) -> list[Record]:
    """Those with data in a field, or with a record that has."""
    secret: set[str] = set(DATA)
    while more := {each.name for each in records(*rooms) if each.types & secret} - secret:
        secret |= more
    return [each for each in records(*rooms) if each.name in secret and each.name not in PUBLIC]


def printing(*rooms: Path) -> list[str]:
    return [each.name for each in secret_records(*rooms) if each.prints]


def test_there_are_records_that_hold_secrets():
    names = {each.name for each in secret_records(*ROOMS)}
    assert {"Share", "RandomOt", "AndMade", "LinearMade", "CompareMade", "Outcome", "Compiled"} <= names
    assert not {"Fixed", "Product", "Thresholds", "Counts"} & names


def test_no_record_of_secrets_prints_its_fields():
    assert printing(*ROOMS) == []


def test_a_record_of_secrets_that_prints_is_seen(tmp_path):
    fields = {"A": "x: Bits", "B": "a: A", "C": "n: int"}
    source = [f"@dataclass\nclass {name}:\n    {field}\n" for name, field in fields.items()]
    source.append("@dataclass(repr=False)\nclass D:\n    x: Bits\n")
    (tmp_path / "x.py").write_text("".join(source))
    assert printing(tmp_path) == ["A", "B"]


class Everything:
    """The objects of one run at both roles, and the secrets that they hold."""

    def __init__(self) -> None:
        self.objects: list[Any] = []
        self.arrays: list[np.ndarray] = []

    def numbers(self) -> set[str]:
        """Long secret numbers as they would be printed."""
        found: set[str] = set()
        for x in self.arrays:
            flat = x.ravel()[:4096]
            if x.dtype.kind in "iu":
                found |= {str(abs(int(v))) for v in flat if abs(int(v)) > 99_999}
            elif x.dtype.kind == "f":
                found |= {repr(float(v)) for v in flat if v != round(float(v))} | {
                    str(int(v)) for v in flat if v == round(float(v)) and abs(v) > 99_999
                }
        return found


@pytest.fixture(scope="module")
def everything() -> Everything:
    """Setup, offline and online phase of the tiny plan; all that lives afterwards."""
    seen = Everything()
    plan = tiny_plan()
    kept: list[Any] = []

    def program(p: Party) -> Any:
        given = ClientInput.of(plan, tiny_feeds()) if p.role is CLIENT else None
        weights = tiny_weights() if p.role is SERVER else None
        values = Keeping(plan)
        setup(p, facts(plan).cots, plan)
        made = offline(p, plan, weights)
        kept.append(list(made))
        outputs = online(p, plan, made, weights, given.encoded if given else None, values=values)
        kept.extend([p, given, values, values.kept, p.linear, p.prg, *p.cots.values(), p.ledger])
        kept.append(Connection(p))
        return outputs

    server, client, _ = together(program, standard)
    compiled = Compiled(plan, tiny_weights())
    done = Done(plan, FRESH, Ledger(), 1.0, client)
    outcome = Outcome(CLIENT, done, LOOPBACK)
    kept += [
        done,
        compiled,
        outcome,
        Server(plan, compiled.weights),
        Client(plan),
        server,
    ]
    _collect(kept, seen, set(), 0)
    return seen


def _collect(value: Any, seen: Everything, known: set[int], depth: int) -> None:
    if id(value) in known or depth > 12:
        return
    known.add(id(value))
    if isinstance(value, np.ndarray):
        seen.arrays.append(value)
    elif isinstance(value, (list, tuple, set)):
        for each in value:
            _collect(each, seen, known, depth + 1)
    elif isinstance(value, dict):
        for each in value.values():
            _collect(each, seen, known, depth + 1)
    elif type(value).__module__.startswith("ppc."):
        seen.objects.append(value)
        for each in gc.get_referents(value):
            if not isinstance(each, type):
                _collect(each, seen, known, depth + 1)


def test_everything_is_found(everything):
    kinds = {type(each).__name__ for each in everything.objects}
    assert {
        "Party",
        "Prg",
        "HeEngine",
        "HeClient",
        "SecretKey",
        "HeServer",
        "Pool",
        "Iknp",
    } <= kinds
    assert {"LinearMade", "SelectMade", "AndMade", "Share", "Compiled", "Server", "Client"} <= kinds
    assert len(everything.numbers()) > 1000


@pytest.mark.parametrize("show", [repr, str, "{}".format, "{!r:.10000}".format])
def test_no_object_of_a_run_prints_a_secret(everything, show):
    secrets = everything.numbers()
    for each in everything.objects:
        text = show(each)
        assert "array(" not in text, type(each).__name__
        assert not secrets & set(re.findall(r"\d+\.\d+|\d{6,}", text)), type(each).__name__


def test_a_secret_that_is_printed_is_seen(everything):
    number = max(everything.numbers(), key=len)
    assert set(re.findall(r"\d+\.\d+|\d{6,}", f"Share({number})")) & everything.numbers()


def test_generators_and_keys_say_what_they_are(everything):
    texts = {type(each).__name__: repr(each) for each in everything.objects}
    assert texts["Prg"] == "Prg(<secret>)"
    assert "<secret>" in texts["SecretKey"]
    assert "<weights>" in texts["Server"]
    assert texts["Compiled"].endswith("3 weights)")


# ---- faults


@pytest.fixture(scope="module")
def kinds() -> dict[str, Frame]:
    """The first frame of each kind."""
    with watched() as frames:
        succeeded(session(tiny_plan(), tiny_weights(), tiny_feeds()))
    return {f"{f.kind} by the {f.role.value}": f for f in reversed(frames)}


def sabotaged(target: Frame, change: Callable[[bytes], bytes]) -> dict[Role, Any]:
    """A run in which the first frame like ``target`` is changed on its way."""
    real, done = Channel.send, []

    def send(self: Channel, payload: Any) -> None:
        frame = _frame(bytes(payload), sys._getframe(1))
        if not done and (frame.kind, frame.role, frame.step) == (target.kind, target.role, target.step):
            done.append(True)
            payload = change(bytes(payload))
        real(self, payload)

    with mock.patch.object(Channel, "send", send):
        results = session(tiny_plan(), tiny_weights(), tiny_feeds(), timeout=5)
    assert done
    return results


STRUCTURED = [
    "handshake by the client",
    "handshake by the server",
    "base.base_ots by the client",
    "base.base_ots by the server",
    "engine.plan by the client",
    "engine.begin by the client",
    "engine.finish by the server",
    "extension.extend by the client",
    "matmul.linear by the client",
    "compare.compare_all by the server",
]
"""Messages whose bytes mean more than ring elements, and two of those."""

CHANGES = {
    "all ones": lambda data: b"\xff" * len(data),
    "too short": lambda data: data[:-1],
    "too long": lambda data: data + b"\0",
}


def is_clean(fault: Exception, secrets: set[str]) -> bool:
    """One line of our own, which tells nothing but public sizes."""
    text = f"{fault} {fault!r} {fault.args}"
    return (
        isinstance(fault, RuntimeFault)
        and "\n" not in str(fault)
        and len(str(fault)) < 200
        and fault.__cause__ is None
        and "silent for" not in str(fault)  # the side that fails closes the connection
        and not secrets & set(re.findall(r"\d+\.\d+|\d+", text))
    )


def weights_and_inputs() -> set[str]:
    """The tiny plan's weights of three digits, which are no sizes in it."""
    return {str(abs(int(v))) for w in tiny_weights().values() for v in w.ravel() if abs(v) > 99}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
@pytest.mark.parametrize("kind", STRUCTURED)
def test_a_damaged_message_ends_in_a_clean_fault_on_both_sides(kinds, kind, change):
    if change is CHANGES["too long"] and kind != "matmul.linear by the client":
        pytest.skip("one is enough")
    results = sabotaged(kinds[kind], change)
    for outcome in results.values():
        assert isinstance(outcome, Outcome) or is_clean(outcome, weights_and_inputs()), repr(outcome)
    if change is not CHANGES["all ones"]:
        assert any(isinstance(outcome, PeerMismatch) for outcome in results.values())


@pytest.mark.parametrize("kind", STRUCTURED[:5])
def test_structure_is_checked(kinds, kind):
    target = kinds[kind]
    fault = sabotaged(target, CHANGES["all ones"])[target.role.other]
    assert isinstance(fault, PeerMismatch)


def test_a_fault_at_one_side_tells_the_other_nothing():
    """The client's own prompt may be named to the client; the server sees a closed connection."""
    plan = tiny_plan()
    feeds = {"ids": np.array([[3, 0, 123456, 7]])}
    with pytest.raises(BadInput, match=rf"123456, outside \[0, {VOCABULARY - 1}\]"):
        Client(plan, patience=0.1).run(feeds, ("127.0.0.1", 1))
    with mock.patch("ppc.runtime.session.inputs.check_inputs", lambda plan, feeds: dict(feeds)):
        results = session(plan, tiny_weights(), feeds, timeout=5)
    assert isinstance(results[CLIENT], BadInput)
    assert isinstance(results[SERVER], NetworkFault)
    assert "123456" not in str(results[SERVER])


def test_a_value_out_of_range_is_told_to_its_owner_alone():
    """The server is not even asked (`tests/runtime/service/test_refused.py`)."""
    huge = [np.zeros(1), np.full((1, 4, 11), 7.7e9)]
    with (
        mock.patch("ppc.runtime.session.inputs.run_local", return_value=huge),
        watched() as frames,
    ):
        results = session(tiny_plan(), tiny_weights(), tiny_feeds(), timeout=5)
    assert isinstance(results[CLIENT], RangeFault)
    assert "7.7e+09" in str(results[CLIENT])
    assert isinstance(results[SERVER], NetworkFault)
    assert "7.7" not in str(results[SERVER])
    assert frames == []


def test_weights_that_break_their_promise_are_not_shown():
    """Columns longer than the plan says would not be hidden by the flooding: the server refuses."""
    large = {**tiny_weights(), "table": np.full((VOCABULARY, 6), 77777)}
    results = session(tiny_plan(), large, tiny_feeds(), timeout=5)
    assert isinstance(results[SERVER], RuntimeFault)
    assert "norm above 2^11" in str(results[SERVER])
    assert not any("77777" in str(fault) for fault in results.values())
