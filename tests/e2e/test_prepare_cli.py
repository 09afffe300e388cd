"""`ppc prepare` and `ppc run` as two processes: prepared material, TLS and a shaped network; wrong flags."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from certificates import LOOPBACK, Authority, pem
from command import Running, called, serving
from small import TOKENS
from tiny import tiny_feeds, tiny_plan, tiny_weights

import ppc as api
from models.tiny_bert import sample
from ppc.runtime.plan.file import save, save_weights
from ppc.runtime.session.simulate import simulate

ROOT = Path(__file__).parent.parent.parent
CLI = (sys.executable, "-m", "ppc.cli")


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("cli")
    save(tiny_plan(), folder / "plan.bin")
    save_weights(tiny_weights(), tiny_plan(), folder / "plan.weights")
    np.savez(folder / "in.npz", **tiny_feeds())
    authority = Authority.new("authority")
    (folder / "ca.pem").write_bytes(pem(authority.certificate))
    authority.issue(folder / "tls", LOOPBACK)
    return folder


def cli(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*CLI, *words], cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)


def both(folder: Path, verb: str, *more: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """Reports of server and client, with everything that either may be given."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        address = f"127.0.0.1:{free.getsockname()[1]}"
    tls = folder / "tls"
    server = [verb, str(folder / "plan.bin"), "--role", "server", "--listen", address, "--json"]
    server += ["--tls-cert", str(tls / "cert.pem"), "--tls-key", str(tls / "key.pem"), "--shape", "1Gbit,2ms"]
    server += ["--once"] if verb == "run" else []
    running = subprocess.Popen([*CLI, *server], cwd=ROOT, stdout=subprocess.PIPE, text=True)
    client = [verb, str(folder / "plan.bin"), "--role", "client", "--connect", address, "--json"]
    client += ["--tls-ca", str(folder / "ca.pem"), "--shape", "1Gbit,2ms", *more]
    done = cli(*client)
    said, _ = running.communicate(timeout=60)
    assert (done.returncode, running.returncode) == (0, 0), done.stderr
    return json.loads(said), json.loads(done.stdout)


def test_prepare_then_run(folder):
    server, client = both(folder, "prepare")
    assert server["prepared"] == client["prepared"]
    (id,) = client["prepared"]
    store = folder / "plan.prepared"
    assert sorted(path.name for path in store.iterdir()) == [f"{id}.client", f"{id}.server"]
    expected = simulate(tiny_plan(), tiny_weights(), tiny_feeds())[tiny_plan().outputs[0].value]
    for material, extra in (([], ["--fresh"]), ([id], [])):
        server, client = both(folder, "run", "--input", str(folder / "in.npz"), *extra)
        assert server["material"] == client["report"]["material"] == material
        assert (client["report"]["offline"]["sent"] == 0) == bool(material)
        found = np.array(client["outputs"]["y"])
        assert np.abs(found - expected).max() < 0.15 * np.abs(expected).max()
        assert client["report"]["seconds"] >= 0.001 * client["report"]["online"]["flights"]
    assert list(store.iterdir()) == []


def test_each_length_is_prepared_that_is_asked_for(small, tmp_path):
    """And taken by the prompts that run at it."""
    api.compile(small.model, seq_len=[4, TOKENS]).save(tmp_path / "plan.bin", tmp_path / "plan.weights")
    np.savez(tmp_path / "short.npz", **sample(4, used=3))
    server = Running("prepare", tmp_path / "plan.bin", "--role", "server", "--listen", "127.0.0.1:0")
    address = server.said(r"on (127\.0\.0\.1:\d+)")[1]
    client = ("--role", "client", "--connect", address)
    made = called("prepare", tmp_path / "plan.bin", *client, "--seq-len", 4, "--json")
    assert made.status == 0, made.err
    assert "for prompts that run at 4 tokens; the plan has 4, 8" in made.err
    assert server.end().status == 0
    with serving(tmp_path / "plan.bin", "--once") as (_, address):
        client = ("--role", "client", "--connect", address, "--input", tmp_path / "short.npz", "--json")
        assert (
            called("run", tmp_path / "plan.bin", *client).json["report"]["material"] == made.json["prepared"]
        )
    none = ("prepare", tmp_path / "plan.bin", "--role", "client", "--seq-len", 5)
    called(*none).failed(2, "--seq-len 5: the plan has the lengths 4, 8")


@pytest.mark.parametrize(
    ("words", "why"),
    [
        ("run --role dealer", "'dealer' is not one of 'server', 'client'"),
        ("run --role client --tls-cert a --tls-key b", "all three"),
        ("run --role server --tls-cert a", "both --tls-cert and --tls-key"),
        ("run --role server --tls-cert none.pem --tls-key none.pem", "none.pem: No such file"),
        ("run --role client --tls-ca none.pem", "none.pem: No such file"),
        ("run --role client --shape fast", "BANDWIDTH,RTT"),
        ("run --role client --fresh --store x", "give one of them"),
        ("prepare --role client --count 0", "count"),
        ("prepare --role client --store /dev/null", "/dev/null"),
    ],
)
def test_wrong_flags_are_a_line_and_status_2(folder, monkeypatch, capsys, words, why):
    import ppc.cli

    verb, *rest = words.split()
    monkeypatch.setattr(sys, "argv", ["ppc", verb, str(folder / "plan.bin"), *rest])
    with pytest.raises(SystemExit) as stop:
        ppc.cli.main()
    assert stop.value.code == 2
    said = capsys.readouterr().err
    assert why in said
    assert "Traceback" not in said


def test_an_open_store_is_refused(folder, tmp_path):
    tmp_path.chmod(0o755)
    words = ["prepare", str(folder / "plan.bin"), "--role", "server", "--store", str(tmp_path)]
    done = cli(*words)
    assert done.returncode == 2
    assert "chmod 700" in done.stderr
