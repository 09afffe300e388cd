"""`ppc serve` as an operator runs it: several plans, signals, its status; and peers that stall."""

from __future__ import annotations

import json
import signal
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from certificates import LOOPBACK, Authority, pem
from command import Running, called, ppc
from sides import eventually
from tiny import tiny_feeds, tiny_plan, tiny_weights

from ppc.runtime.plan.file import save, save_weights
from ppc.runtime.service.client import Client
from ppc.runtime.service.report import Outcome
from ppc.runtime.session.simulate import simulate


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("serve")
    for name in ("plan", "other"):
        save(tiny_plan(name), folder / f"{name}.bin")
        save_weights(tiny_weights(), tiny_plan(name), folder / f"{name}.weights")
    np.savez(folder / "in.npz", **tiny_feeds())
    np.savez(folder / "many.npz", **{name: np.stack([x] * 400) for name, x in tiny_feeds().items()})
    authority = Authority.new("authority")
    (folder / "ca.pem").write_bytes(pem(authority.certificate))
    authority.issue(folder / "tls", LOOPBACK)
    return folder


@contextmanager
def serving(*args: object, listen: str = "127.0.0.1:0") -> Iterator[tuple[Running, str]]:
    """A service, on a free port, and its address. It is killed afterwards if it still runs."""
    server = Running("serve", *args, "--listen", listen)
    try:
        yield server, server.said(r"on (127\.0\.0\.1:\d+)")[1]
    finally:
        server.kill()


def client(folder: Path, address: str, *more: object, plan: str = "plan", given: str = "in.npz") -> tuple:
    asked = ("run", folder / f"{plan}.bin", "--role", "client", "--connect", address, "--json")
    return *asked, "--input", folder / given, *more


def test_a_service_from_its_start_to_its_end(folder, tmp_path):
    """Two plans, TLS, certificates renewed, documents for a log, numbers, and status 0 at the end."""
    tls = folder / "tls"
    args = ("--tls-cert", tls / "cert.pem", "--tls-key", tls / "key.pem", "--log", "json")
    more = ("--status", "127.0.0.1:0", "--prepare", "2", "--store", tmp_path / "store")
    with serving(folder / "plan.bin", folder / "other.bin", *args, *more) as (server, address):
        trust = ("--tls-ca", folder / "ca.pem")
        for plan in ("plan", "other"):
            done = ppc(*client(folder, address, *trust, plan=plan))
            assert done.status == 0, done.err
            expected = simulate(tiny_plan(plan), tiny_weights(), tiny_feeds())[tiny_plan().outputs[0].value]
            found = np.array(done.json["outputs"]["y"])
            assert np.abs(found - expected).max() < 0.15 * np.abs(expected).max()
        at = ("--role", "client", "--connect", address, *trust, "--store", tmp_path / "client")
        made = ppc("prepare", folder / "plan.bin", *at, "--count", 5, "--json")
        assert len(made.json["prepared"]) == 2, made.err
        status = server.said(r"status on (http://127\.0\.0\.1:\d+)")[1]
        numbers = urllib.request.urlopen(f"{status}/metrics", timeout=10).read().decode()
        assert f'ppc_prepared{{plan="{tiny_plan("plan").hash[:12]}"}} 2\n' in numbers
        server.process.send_signal(signal.SIGHUP)
        server.said("loaded anew")
        used = ppc(*client(folder, address, *trust, "--store", tmp_path / "client"))
        assert used.json["report"]["material"] in [[id] for id in made.json["prepared"]]
        server.process.send_signal(signal.SIGTERM)
        ended = server.end(20)
    assert ended.status == 0
    documents = [json.loads(line) for line in ended.err.splitlines()]
    assert [each.get("did") for each in documents if "did" in each] == ["answered"] * 2 + [
        "prepared", "answered",
    ]  # fmt: skip
    assert all(each["time"].endswith("Z") for each in documents)
    warned = [each["message"] for each in documents if each["level"] != "info"]
    assert all("0 days from now; renew it" in message for message in warned), (
        "certificates of tests last a day"
    )
    assert len(warned) == 2, "when it starts and when it loads anew"


@pytest.mark.parametrize("level", [3, 1])
def test_a_run_makes_the_next_one_s_material_ahead(folder, tmp_path, level):
    """As much as both sides allow, once the answer is there; and the next takes of it."""
    store = tmp_path / "client"
    with serving(folder / "plan.bin", "--prepare", level, "--store", tmp_path / "server") as (_, address):
        for before in (0, min(2, level)):
            done = ppc(*client(folder, address, "--store", store, "--ahead", "2"))
            assert done.status == 0, done.err
            assert len(done.json["report"]["material"]) == bool(before)
            ids = {each.stem for each in store.glob("*.client")}
            assert len(ids) == min(2, level)
            assert ids == {each.stem for each in tmp_path.glob("server/*/*.server")}
    called(*client(folder, "127.0.0.1:1", "--ahead", "2", "--fresh")).failed(2, "give one of them")


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL], ids=["stops", "dies"])
def test_a_client_pays_no_setup_when_the_service_was_started_again(folder, tmp_path, how):
    asks = Client(tiny_plan("plan"))
    with serving(folder / "plan.bin", "--keep-in", tmp_path / "kept") as (server, address):
        assert paid_setup(asks.run(tiny_feeds(), address))
        eventually(lambda: list(tmp_path.glob("kept/*.kept")))
        server.process.send_signal(how)
        server.process.wait(20)
    with serving(folder / "plan.bin", "--keep-in", tmp_path / "kept", listen=address):
        again = asks.run(tiny_feeds(), address)
    assert not paid_setup(again)
    (tmp_path / "kept").chmod(0o755)
    ppc("serve", folder / "plan.bin", "--keep-in", tmp_path / "kept").failed(2, "chmod 700")


def paid_setup(outcome: Outcome) -> bool:
    """More than the handshake."""
    return outcome.report["setup"]["sent"] + outcome.report["setup"]["received"] > 10_000


def test_who_runs_when_it_is_told_to_stop_gets_its_answer(folder):
    with serving(folder / "plan.bin") as (server, address):
        asking = Running(*client(folder, address, given="many.npz"))
        server.said("answered")
        server.process.send_signal(signal.SIGTERM)
        assert server.end(20).status == 0
        asking.end(20).failed(5, "closed the connection|broke|the server stops")


@pytest.mark.parametrize("how", [signal.SIGSTOP, signal.SIGKILL], ids=["stalls", "dies"])
def test_a_client_that_is_gone_ends_the_server_s_side_in_seconds_and_nobody_else_s(folder, how):
    with serving(folder / "plan.bin", "--timeout", "3", "--status", "127.0.0.1:0") as (server, address):
        status = server.said(r"status on (http://127\.0\.0\.1:\d+)")[1]
        gone = Running(*client(folder, address, given="many.npz"))
        server.said("answered")
        gone.process.send_signal(how)
        done = ppc(*client(folder, address))
        assert done.status == 0, done.err

        def alone() -> bool:
            numbers = urllib.request.urlopen(f"{status}/metrics", timeout=10).read().decode()
            return "ppc_connections 0\n" in numbers

        eventually(alone, 12)
        if how is signal.SIGSTOP:
            gone.process.send_signal(signal.SIGCONT)
            gone.end(20).failed(5, "closed the connection|broke")


def test_a_server_that_stalls_ends_its_client_in_seconds(folder):
    with serving(folder / "plan.bin") as (server, address):
        asking = Running(*client(folder, address, "--timeout", "3", given="many.npz"))
        server.said("answered")
        server.process.send_signal(signal.SIGSTOP)
        asking.end(15).failed(5, "silent for 3 seconds")
        server.process.send_signal(signal.SIGCONT)


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (("--log", "xml"), "text or json, not 'xml'"),
        (("--tls-cert", "a"), "both --tls-cert and --tls-key"),
        (("--tls-ca", "a"), "give --tls-cert and --tls-key too"),
        (("--clients", "a"), "which nobody has without --tls-ca"),
        (("--memory", "much"), "a number of MB or GB, as 4GB, not 'much'"),
        (("--memory", "1MB"), "more than the 1 MB that all may have; raise --memory"),
        (("--status", "here"), "HOST:PORT"),
        (("--at-once", "0"), "at-once"),
    ],
)
def test_wrong_flags_are_a_line_and_status_2(folder, words, why):
    called("serve", folder / "plan.bin", "--listen", "127.0.0.1:0", *words).failed(2, why)


def test_plans_and_weights_are_looked_at_before_it_listens(folder, tmp_path):
    called("serve", tmp_path / "none.bin").failed(2, "none.bin")
    save(tiny_plan(), tmp_path / "alone.bin")
    called("serve", tmp_path / "alone.bin").failed(2, r"alone\.weights")


@pytest.fixture(scope="module")
def keys(folder) -> Path:
    """An authority, a server, three clients: alice may ask twice a day, bob at will, eve never."""
    made = called(
        "keygen",
        folder / "keys",
        "--server",
        "127.0.0.1",
        *(f"--client={n}" for n in ("alice", "bob", "eve")),
    )
    assert made.status == 0, made.err
    assert called("clients", folder / "clients.db", "--allow", "alice", "--per-day", 2).status == 0
    assert called("clients", folder / "clients.db", "--allow", "bob").status == 0
    return folder / "keys"


def mutual(folder: Path, keys: Path) -> tuple[object, ...]:
    own = ("--tls-cert", keys / "server.pem", "--tls-key", keys / "server.key", "--tls-ca", keys / "ca.pem")
    return (*own, "--clients", folder / "clients.db")


def shown(keys: Path, name: str) -> tuple[object, ...]:
    return (
        "--tls-cert",
        keys / f"{name}.pem",
        "--tls-key",
        keys / f"{name}.key",
        "--tls-ca",
        keys / "ca.pem",
    )


def test_each_client_has_its_quota_and_who_is_not_on_the_list_none(folder, keys):
    with serving(folder / "plan.bin", *mutual(folder, keys)) as (server, address):
        for name, times in (("alice", 2), ("bob", 3)):
            for _ in range(times):
                done = ppc(*client(folder, address, *shown(keys, name)))
                assert done.status == 0, done.err
        ppc(*client(folder, address, *shown(keys, "alice"))).failed(
            5, r"inferences of the day; the next begins in \d+ h"
        )
        ppc(*client(folder, address, *shown(keys, "eve"))).failed(5, "does not have this client on its list")
        ppc(*client(folder, address, "--tls-ca", keys / "ca.pem")).failed(5, "it wants one, and got none")
        server.said("eve: unknown: eve is not on the list")
        server.said("alice: quota: alice has had its 2 of")
    assert "alice: 2 today of 2" in called("clients", folder / "clients.db").out


def test_nobody_gets_what_another_client_prepared(folder, keys, tmp_path):
    """Not with the other's files either: the server's halves lie under the name that they were made for."""
    store = tmp_path / "bob"
    more = ("--store", tmp_path / "server", "--prepare", "1")
    with serving(folder / "plan.bin", *mutual(folder, keys), *more) as (_, address):
        at = ("--role", "client", "--connect", address, "--store", store)
        (id,) = ppc("prepare", folder / "plan.bin", *at, *shown(keys, "bob"), "--json").json["prepared"]
        ppc("prepare", folder / "plan.bin", *at, *shown(keys, "bob")).failed(
            5, "holds 1 prepared .* already; use them"
        )
        called("clients", folder / "clients.db", "--allow", "eve")
        for name, used in (("eve", []), ("bob", [id])):
            done = ppc(*client(folder, address, *shown(keys, name), "--store", store))
            assert done.json["report"]["material"] == used, done.err
        called("clients", folder / "clients.db", "--remove", "eve")
        (lost,) = ppc("prepare", folder / "plan.bin", *at, *shown(keys, "bob"), "--json").json["prepared"]
        (store / f"{lost}.client").unlink()
        made = ppc("prepare", folder / "plan.bin", *at, *shown(keys, "bob"), "--json").json["prepared"]
        assert [path.stem for path in (tmp_path / "server").rglob("*.server")] == made, (
            "the lost half made room"
        )
    for path in (tmp_path / "server").rglob("*"):
        assert "bob" not in path.name


def test_several_machines_take_ray(folder, monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)  # as where it is not installed
    monkeypatch.delitem(sys.modules, "ppc.runtime.service.crew", raising=False)
    called("serve", folder / "plan.bin", "--ray", "auto").failed(2, r"pip install 'ppc\[ray\]'")
    called("serve", folder / "plan.bin", "--servers", 2).failed(2, "--servers .* --ray")
