"""A client needs no ONNX: loading, pricing and running a plan never import the compiler's packages."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from sides import serving_here
from tiny import tiny_feeds, tiny_plan, tiny_weights

import ppc
from ppc.runtime.plan.file import save

ONNX = ("onnx", "onnxruntime", "ppc.frontend", "ppc.passes")
NOT_FOR_RUNNING = (*ONNX, "networkx", "jinja2", "tomli")

PRELUDE = """
import runpy, sys

class Absent:
    def find_spec(self, name, path=None, target=None):
        if any(name == each or name.startswith(each + ".") for each in {absent}):
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)

sys.meta_path.insert(0, Absent())
"""


def without(absent: tuple[str, ...], code: str, *args: str) -> subprocess.CompletedProcess[str]:
    """``code`` in a fresh interpreter in which the packages ``absent`` cannot be imported."""
    command = [sys.executable, "-c", PRELUDE.format(absent=absent) + code, *args]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


@pytest.fixture
def plan(tmp_path: Path) -> Path:
    path = tmp_path / "plan.bin"
    save(tiny_plan(), path)
    return path


def test_a_plan_is_loaded_and_priced(plan: Path) -> None:
    code = (
        "import ppc; from pathlib import Path; print(ppc.summary(ppc.load_plan(Path(sys.argv[1])))['plan'])"
    )
    done = without(ONNX, code, str(plan))
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == tiny_plan().hash


def test_the_client_runs_from_the_command_line(plan: Path, tmp_path: Path) -> None:
    np.savez(tmp_path / "in.npz", **tiny_feeds())  # type: ignore[arg-type]
    code = "sys.argv[0] = 'ppc'; runpy.run_module('ppc.cli', run_name='__main__')"
    server = ppc.Server(tiny_plan(), tiny_weights(), ppc.SessionOptions(timeout=30))
    with serving_here(server) as ((host, port), _):
        arguments = ["run", str(plan), "--role", "client", "--connect", f"{host}:{port}", "--json"]
        done = without(NOT_FOR_RUNNING, code, *arguments, "--input", str(tmp_path / "in.npz"))
    assert done.returncode == 0, done.stderr
    outputs = json.loads(done.stdout)["outputs"]
    assert np.shape(outputs["y"]) == (1, 10)


@pytest.mark.parametrize("name", NOT_FOR_RUNNING)
def test_the_compilers_packages_are_really_out_of_reach(name: str) -> None:
    done = without(NOT_FOR_RUNNING, f"import ppc, {name}")
    assert done.returncode == 1
    assert f"No module named '{name}'" in done.stderr
