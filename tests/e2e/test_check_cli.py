"""`--check-ot` as a user types it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from command import Done, ppc, serving
from tiny import tiny_feeds, tiny_plan, tiny_weights

from ppc.runtime.plan.file import save, save_weights


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    made = tmp_path_factory.mktemp("check")
    save(tiny_plan(), made / "plan.bin")
    save_weights(tiny_weights(), tiny_plan(), made / "plan.weights")
    np.savez(made / "in.npz", **tiny_feeds())
    return made


def asked(folder: Path, address: str, *more: str) -> Done:
    feeds = ("--input", folder / "in.npz", "--json")
    return ppc("run", folder / "plan.bin", "--role", "client", "--connect", address, *feeds, *more)


def test_both_sides_check(folder):
    with serving(folder / "plan.bin", "--once", "--json", "--check-ot") as (server, address):
        report = asked(folder, address, "--check-ot").json["report"]
        for phase in ("setup", "offline", "online"):
            for key in ("sent", "received", "flights"):
                assert report[phase][key] == report["predicted"][phase][key]
        assert server.end(20).status == 0


def test_one_side_alone_is_told_to_both(folder):
    with serving(folder / "plan.bin", "--once", "--check-ot") as (server, address):
        asked(folder, address).failed(4, "without --check-ot, the peer with; give it to both")
        done = server.end(20)
        assert done.status == 4
        assert "with --check-ot, the peer without; give it to both" in done.err
