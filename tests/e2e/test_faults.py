"""Each fault in each phase at each side: both end in seconds, with their status, and harm nobody else.

docs/faults.md is made from what is expected here (`tests/tools/faults.py`).
"""

from __future__ import annotations

import os
import resource
import signal
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from command import Done, Running, called
from faults import (
    ALICE,
    DISKS,
    FAULTS,
    PHASES_OF,
    SECONDS,
    WRONG,
    Fault,
    Place,
    Side,
    asked,
    limit,
    markdown,
    served,
    shown,
)
from relay import Relay, relay
from sides import eventually
from small import ROOT
from tiny import tiny_feeds, tiny_plan, tiny_weights

from ppc.runtime.net.authority import Authority
from ppc.runtime.plan.file import save, save_weights

DOCUMENT = ROOT / "docs" / "faults.md"

USUAL = (
    ("dies (kill -9)", "server", "online"),
    ("stalls (SIGSTOP)", "client", "offline"),
    ("sends garbage", "client", "online"),
    ("sends garbage", "server", "offline"),
    ("trickles", "server", "setup"),
    ("goes silent, the connection half open", "client", "preparing"),
    ("dies (kill -9)", "server", "ahead"),
)
"""Cells that every run tries."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("faults")
    save(tiny_plan(), folder / "plan.bin")
    save(tiny_plan("other"), folder / "other.bin")
    save_weights(tiny_weights(), tiny_plan(), folder / "plan.weights")
    np.savez(folder / "in.npz", **tiny_feeds())
    np.savez(folder / "many.npz", **{name: np.stack([x] * 3) for name, x in tiny_feeds().items()})
    return folder


@pytest.fixture(scope="module")
def place(folder, tmp_path_factory) -> Iterator[Place]:
    """One service for all faults that leave it standing."""
    with served(folder, "--store", tmp_path_factory.mktemp("server")) as place:
        yield place


def cells() -> Iterator[object]:
    for fault in FAULTS:
        for phase in PHASES_OF:
            usual = (fault.name, fault.side, phase) in USUAL
            mark = pytest.mark.long if usual else pytest.mark.slow
            yield pytest.param(fault, phase, id=f"{fault.side} {fault.name}, {phase}", marks=mark)


@pytest.mark.parametrize(("fault", "phase"), list(cells()))
def test_both_sides_end_in_seconds_and_nobody_else_is_harmed(request, folder, tmp_path, fault, phase):
    if not fault.harms_all:
        befalls(fault, phase, request.getfixturevalue("place"))
        return
    with served(folder, "--store", tmp_path / "server") as own:
        befalls(fault, phase, own)


def befalls(fault: Fault, phase: str, place: Place) -> None:
    running: dict[Side, Running] = {"server": place.server}
    if isinstance(fault.how, signal.Signals):
        number = fault.how

        def then(wire: Relay, sink: socket.socket, data: bytes) -> None:
            running[fault.side].process.send_signal(number)
            sink.sendall(data)
    else:
        then = fault.how

    with relay(place.address, limit(phase, fault.side), fault.side, then) as wire:
        running["client"] = asking = place.asks(phase, wire.address)
        assert wire.reached.wait(30), asking._err
        begun = time.monotonic()
        if not fault.harms_all:
            place.answers_another()
        stopped = fault.how is signal.SIGSTOP
        if stopped and fault.side == "client":
            eventually(lambda: place.connections == 0, SECONDS)
            asking.process.send_signal(signal.SIGCONT)
        ended = asking.end(SECONDS)
        if not fault.harms_all:
            eventually(lambda: place.connections == 0, SECONDS)
        assert time.monotonic() - begun < SECONDS
        if stopped and fault.side == "server":
            place.server.process.send_signal(signal.SIGCONT)
            eventually(lambda: place.connections == 0, SECONDS)
    ends_as(ended, fault.at(phase))


def ends_as(ended: Done, status: int) -> None:
    if status > 0:
        ended.failed(status)
        return
    assert ended.status == status, ended.err
    if status == 0:
        assert "outputs" in ended.json
        assert "nothing more is prepared ahead" in ended.err
        assert "Traceback" not in ended.err


# ---- what is wrong from the start


@pytest.fixture(scope="module")
def guarded(folder, tmp_path_factory) -> Iterator[Place]:
    """A service that asks who comes: alice at will, one who has had all of its day, and no other."""
    names = (f"--client={name}" for name in ("alice", "eve", "spent"))
    assert called("keygen", folder / "keys", "--server=127.0.0.1", *names).status == 0
    Authority(folder / "keys").client("late", days=0)
    assert called("keygen", folder / "other", "--client=mallory").status == 0
    base = folder / "clients.db"
    for words in (("alice",), ("late",), ("mallory",), ("spent", "--per-day", 1)):
        assert called("clients", base, "--allow", *words).status == 0
    keys = [folder / "keys" / name for name in ("server.pem", "server.key", "ca.pem")]
    own = ("--tls-cert", keys[0], "--tls-key", keys[1], "--tls-ca", keys[2], "--clients", base)
    with served(folder, *own, "--store", tmp_path_factory.mktemp("guarded"), prepare=1) as place:
        for name, verb, more in (
            ("spent", "run", ("--input", "in.npz")),
            ("alice", "prepare", ("--store", "full")),
        ):
            assert asked(place, verb, (*shown(name), *more)).status == 0
        yield place


@pytest.mark.long
@pytest.mark.parametrize("wrong", [pytest.param(each, id=each.name) for each in WRONG])
def test_what_is_wrong_from_the_start_is_said_and_harms_nobody_else(guarded, wrong):
    given = () if wrong.verb == "prepare" else ("--fresh", "--input", "in.npz")
    begun = time.monotonic()
    asked(guarded, wrong.verb, (*given, *wrong.client)).failed(wrong.status, wrong.said)
    eventually(lambda: guarded.connections == 0, SECONDS)
    assert time.monotonic() - begun < SECONDS
    assert asked(guarded, "run", ("--fresh", "--input", "in.npz", *ALICE)).status == 0


def test_a_server_whose_certificate_has_expired_does_not_start_and_is_not_replaced(guarded):
    """One that runs goes on with what it has."""
    keys = guarded.folder / "keys"
    own = {name: (keys / f"{name}.pem").read_bytes() for name in ("server", "late")}
    words = ("--tls-cert", keys / "late.pem", "--tls-key", keys / "late.key")
    called("serve", guarded.folder / "plan.bin", "--listen", "127.0.0.1:0", *words).failed(2, "expired on")
    key = (keys / "server.key").read_bytes()
    try:
        (keys / "server.pem").write_bytes(own["late"])
        (keys / "server.key").write_bytes((keys / "late.key").read_bytes())
        guarded.server.process.send_signal(signal.SIGHUP)
        guarded.server.said("nothing is loaded anew: .*expired on")
    finally:
        (keys / "server.pem").write_bytes(own["server"])
        (keys / "server.key").write_bytes(key)
    assert asked(guarded, "run", ("--fresh", "--input", "in.npz", *ALICE)).status == 0


@pytest.mark.long
@pytest.mark.parametrize(("phase", "side", "status", "said"), DISKS)
def test_a_full_disk_ends_one_program_and_no_more(folder, tmp_path, phase, side, status, said):
    """A limit on the size of files stands for it, which the system refuses at the same place."""
    little = ("--memory", "20MB", "--at-once", 4000) if side == "server" and phase == "offline" else ()
    with served(folder, "--store", tmp_path / "server", *little) as place:
        if side == "server":
            fill(place.server)
        more = ("--memory", "0MB") if side == "client" and phase == "offline" else ()
        asking = place.asks(phase, place.address, *more)
        if side == "client":
            fill(asking)
        asking.end(SECONDS).failed(status, said)
        eventually(lambda: place.connections == 0, SECONDS)
        if not little:
            place.answers_another()


def fill(running: Running) -> None:
    resource.prlimit(running.process.pid, resource.RLIMIT_FSIZE, (4096, 4096))


def test_the_document_is_what_is_expected_here() -> None:
    if os.environ.get("PPC_UPDATE"):
        DOCUMENT.write_text(markdown())
    assert DOCUMENT.read_text() == markdown()
