"""`ppc serve --ray` with two nodes of Ray on this machine: who is sent where, and what becomes of whom."""

from __future__ import annotations

import os
import re
import signal
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from command import Done, Running, ppc
from sides import eventually
from tiny import tiny_feeds, tiny_plan, tiny_weights

from ppc.runtime.plan.file import save, save_weights
from ppc.runtime.session.simulate import simulate

pytest.importorskip("ray", reason="Ray is an extra")
pytestmark = pytest.mark.slow

from ray.cluster_utils import Cluster  # noqa: E402

PORT = 47100
"""Of the first server; Ray starts another in its place where it finds this free again."""


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    node = {"num_cpus": 1, "object_store_memory": 100 << 20}
    made = Cluster(initialize_head=True, head_node_args=node)
    made.add_node(**node)
    yield made
    made.shutdown()


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("ray")
    save(tiny_plan(), folder / "plan.bin")
    save_weights(tiny_weights(), tiny_plan(), folder / "plan.weights")
    np.savez(folder / "in.npz", **tiny_feeds())
    for file, count in ("some.npz", 20), ("many.npz", 100):
        np.savez(folder / file, **{name: np.stack([x] * count) for name, x in tiny_feeds().items()})
    return folder


class Served:
    """The service: its front's process and address, and what its status says."""

    def __init__(self, process: Running) -> None:
        self.process = process
        self.status = process.said(r"status on (http://127\.0\.0\.1:\d+)", 90)[1]
        self.address = process.said(r"serving plan.* on (127\.0\.0\.1:\d+)", 90)[1]

    def asks(self, folder: Path, *more: object, given: str = "in.npz") -> tuple[object, ...]:
        asked = ("run", folder / "plan.bin", "--role", "client", "--connect", self.address, "--json")
        return *asked, "--input", folder / given, *more

    def numbers(self, name: str) -> dict[str, float]:
        """By the server, those that there are."""
        text = urllib.request.urlopen(f"{self.status}/metrics", timeout=20).read().decode()
        return {server: float(x) for server, x in re.findall(name + r'{server="(\w+)".*} (\S+)', text)}

    def answers(self) -> dict[str, float]:
        return self.numbers("ppc_inferences_total")


@contextmanager
def spread(cluster: Cluster, folder: Path, *more: object) -> Iterator[Served]:
    own = ("--listen", "127.0.0.1:0", "--status", "127.0.0.1:0", "--ray", cluster.address)
    process = Running("serve", folder / "plan.bin", *own, *more)
    try:
        yield Served(process)
    finally:
        process.kill()
        eventually(lambda: not posts(), 30)  # they end with their front, whatever ends it


def posts() -> list[int]:
    """Processes of servers."""
    return processes(b"ray::Post")


def processes(*names: bytes) -> list[int]:
    found = []
    for each in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if each.read_bytes().startswith(names):
                found.append(int(each.parent.name))
        except OSError:
            continue
    return found


def right(done: Done) -> bool:
    assert done.status == 0, done.err
    expected = simulate(tiny_plan(), tiny_weights(), tiny_feeds())[tiny_plan().outputs[0].value]
    return bool(np.abs(np.array(done.json["outputs"]["y"]) - expected).max() < 0.15 * np.abs(expected).max())


def test_clients_are_spread_and_counted_together(cluster, folder, tmp_path):
    """Names, quotas, certificates, numbers of all, and an end with status 0 after what still runs."""
    keys = tmp_path / "keys"
    assert ppc("keygen", keys, "--server", "127.0.0.1", "--client", "alice", "--client", "bob").status == 0
    listed = tmp_path / "clients.db"
    assert ppc("clients", listed, "--allow", "alice", "--per-day", 2).status == 0
    own = ("--tls-cert", keys / "server.pem", "--tls-key", keys / "server.key", "--tls-ca", keys / "ca.pem")
    with spread(cluster, folder, *own, "--clients", listed) as served:

        def ask(name: str, *more: object, given: str = "in.npz") -> Running:
            shows = ("--tls-cert", keys / f"{name}.pem", "--tls-key", keys / f"{name}.key")
            return Running(*served.asks(folder, "--tls-ca", keys / "ca.pem", *shows, *more, given=given))

        assert all(right(ask("alice").end()) for _ in range(2))
        assert served.answers() == {"0": 1, "1": 1}
        ask("alice").end().failed(5, "has had its inferences of the day")
        ask("bob").end().failed(5, "does not have this client on its list")
        assert served.numbers("ppc_sent_on_total") == {"front": 3}, "bob is told no address"
        assert ppc("clients", listed, "--allow", "alice").status == 0
        assert right(ask("alice").end())
        served.process.process.send_signal(signal.SIGTERM)
        assert served.process.end(60).status == 0


def test_what_runs_when_they_are_told_to_stop_may_end(cluster, folder):
    """The link is so slow that an inference lasts some seconds."""
    with spread(cluster, folder) as served:
        asking = Running(*served.asks(folder, "--shape", "50Mbit,100ms"))
        eventually(lambda: max(served.numbers("ppc_running").values()) == 1, 30)
        served.process.process.send_signal(signal.SIGTERM)
        assert right(asking.end())
        assert served.process.end(60).status == 0


def test_a_killed_server_is_replaced_and_harms_its_own_clients_alone(cluster, folder):
    with spread(cluster, folder, "--server-port", PORT) as served:
        asking = [Running(*served.asks(folder, given="many.npz"))]
        eventually(lambda: len(served.answers()) == 1, 30)
        asking.append(Running(*served.asks(folder, given="many.npz")))
        eventually(lambda: len(served.answers()) == 2, 30)
        os.kill(posts()[0], signal.SIGKILL)
        ended = sorted((each.end(300) for each in asking), key=lambda each: each.status)
        assert [each.status for each in ended] == [0, 5]
        ended[1].failed(5)
        assert ended[1].seconds < 60
        assert right(ppc(*served.asks(folder)))
        eventually(lambda: served.numbers("ppc_ready") == {"front": 1, "0": 1, "1": 1}, 60)
        assert sorted(served.numbers("ppc_ready")) == ["0", "1", "front"]
        assert all(right(ppc(*served.asks(folder))) for _ in range(2))
        assert len(served.answers()) == 2, "the new one is sent clients too"


def test_what_is_prepared_is_used_once_whatever_becomes_of_its_server(cluster, folder, tmp_path):
    store = ("--store", tmp_path / "client")
    with spread(cluster, folder, "--prepare", 4, "--store", tmp_path / "server") as served:
        at = ("--role", "client", "--connect", served.address, *store)
        made = ppc("prepare", folder / "plan.bin", *at, "--count", 4, "--json").json["prepared"]
        assert len(made) == 4
        used = ppc(*served.asks(folder, *store)).json["report"]["material"]
        asking = Running(*served.asks(folder, *store))
        time.sleep(0.3)  # about where it claims
        for each in posts():
            os.kill(each, signal.SIGKILL)
        if asking.end().status == 0:
            used += asking.end().json["report"]["material"]
        eventually(lambda: served.numbers("ppc_ready") == {"front": 1, "0": 1, "1": 1}, 60)
        for _ in range(4):
            done = ppc(*served.asks(folder, *store))
            assert right(done)
            used += done.json["report"]["material"]
    assert len(used) == len(set(used))
    assert set(used) <= set(made)
    assert len(used) >= 3, "what was claimed when they were killed is lost, and nothing else"


def test_a_front_of_which_every_server_is_gone_is_not_ready(cluster, folder):
    with spread(cluster, folder, "--servers", 1) as served:
        assert urllib.request.urlopen(f"{served.status}/readyz", timeout=20).status == 200
        os.kill(posts()[0], signal.SIGKILL)
        with pytest.raises(urllib.error.HTTPError, match="503"):
            urllib.request.urlopen(f"{served.status}/readyz", timeout=20)
        assert right(ppc(*served.asks(folder))), "it comes again until there is one"


def test_products_are_computed_by_whoever_is_there(cluster, folder):
    """Those that compute them are killed, and others do it."""
    with spread(cluster, folder, "--spread-products", "--servers", 1) as served:
        asking = Running(*served.asks(folder, given="some.npz"))
        eventually(lambda: sum(served.answers().values()) > 2, 60)
        others = processes(b"ray::_answer", b"ray::IDLE")
        assert others
        for each in others:
            os.kill(each, signal.SIGKILL)
        done = asking.end(300)
        assert done.status == 0, done.err
        assert served.answers() == {"0": 20}
        assert right(ppc(*served.asks(folder)))


def test_what_keeps_servers_from_serving_is_a_line(cluster, folder):
    ppc("serve", folder / "plan.bin", "--ray", "127.0.0.1:1", timeout=120).failed(5, "no Ray at 127.0.0.1:1")
    own = ("serve", "--ray", cluster.address, "--listen", "127.0.0.1:0")
    ppc(*own, folder / "none.bin").failed(2, "none.bin")
    with spread(cluster, folder, "--servers", 1, "--server-port", PORT):
        ppc(*own, folder / "plan.bin", "--servers", 1, "--server-port", PORT).failed(
            5, f"listen on .*:{PORT}"
        )
