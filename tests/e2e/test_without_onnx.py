"""Running a plan, and looking at it, takes none of the compiler's packages; what does take them says so."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import msgspec
import numpy as np
import pytest
from sides import serving_here
from text_model import TOKENS, text_model, word_tokenizer
from tiny import tiny_feeds, tiny_plan, tiny_weights

import ppc
from ppc.runtime.base.function import Onnx
from ppc.runtime.plan.file import save
from ppc.runtime.plan.local import Apply

EXTRAS = ("onnx", "onnxruntime", "jinja2", "threadpoolctl", "tomli", "torch")
"""What `pip install ppc` does not bring."""

NOT_FOR_RUNNING = (*EXTRAS, "ppc.frontend", "ppc.passes")
COMMAND = "sys.argv[0] = 'ppc'; runpy.run_module('ppc.cli', run_name='__main__')"

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
    done = without(NOT_FOR_RUNNING, code, str(plan))
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == tiny_plan().hash


def test_the_client_runs_from_the_command_line(plan: Path, tmp_path: Path) -> None:
    np.savez(tmp_path / "in.npz", **tiny_feeds())  # type: ignore[arg-type]
    server = ppc.Server(tiny_plan(), tiny_weights(), ppc.SessionOptions(timeout=30))
    with serving_here(server) as ((host, port), _):
        arguments = ["run", str(plan), "--role", "client", "--connect", f"{host}:{port}", "--json"]
        done = without(NOT_FOR_RUNNING, COMMAND, *arguments, "--input", str(tmp_path / "in.npz"))
    assert done.returncode == 0, done.stderr
    outputs = json.loads(done.stdout)["outputs"]
    assert np.shape(outputs["y"]) == (1, 10)


@pytest.mark.parametrize("name", NOT_FOR_RUNNING)
def test_the_compilers_packages_are_really_out_of_reach(name: str) -> None:
    done = without(NOT_FOR_RUNNING, f"import ppc, {name}")
    assert done.returncode == 1
    assert f"No module named '{name}'" in done.stderr


@pytest.fixture(scope="module")
def texts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model of texts, with its plan and all that commands want beside it."""
    made = tmp_path_factory.mktemp("texts")
    text_model(made / "m.onnx", "logits")
    word_tokenizer(made / "tokenizer.json")
    ppc.compile(made / "m.onnx", seq_len=TOKENS).save(made / "plan.bin", made / "plan.weights")
    (made / "dev.tsv").write_text("text\tlabel\n" + "w1 w2\t0\nw3\t1\n" * 3)
    return made


FOR_COMPILING = r"onnx, onnxruntime \(not installed here\): pip install 'ppc\[compile\]'"
ASKED = {
    "check m.onnx --seq-len 6": "reading an ONNX model needs " + FOR_COMPILING,
    "compile m.onnx --seq-len 6 -o new.bin": "reading an ONNX model needs " + FOR_COMPILING,
    "compile m.onnx --seq-len 6 --emit-onnx new.onnx": "reading an ONNX model needs " + FOR_COMPILING,
    "compile m.onnx -o new.bin --generate --max-tokens 2 --prompt-len 2": "needs " + FOR_COMPILING,
    "simulate plan.bin --text w1 --tokenizer tokenizer.json --against m.onnx": "needs " + FOR_COMPILING,
    "evaluate plan.bin --data dev.tsv --tokenizer tokenizer.json --model m.onnx": "needs " + FOR_COMPILING,
    "inspect plan.bin --html page.html": r"writing a page needs jinja2 .* 'ppc\[compile\]'",
    "tune m.onnx --data dev.tsv --valid dev.tsv --tokenizer tokenizer.json -o new.onnx --seq-len 6": (
        r"tuning needs onnx, onnxruntime, jinja2 \(not installed here\): pip install 'ppc\[tune\]'"
    ),
}


@pytest.mark.parametrize("asked", ASKED)
def test_what_takes_more_says_so_in_a_line(asked: str, texts: Path) -> None:
    arguments = [str(texts / each) if "." in each else each for each in asked.split()]
    done = without(EXTRAS, COMMAND, *arguments, "--json")
    assert done.returncode == 2, done.stderr
    assert "Traceback" not in done.stderr
    error = json.loads(done.stdout)["error"]
    assert (error["status"], error["kind"]) == (2, "NotInstalled")
    assert re.search(ASKED[asked], error["message"]), error
    assert done.stderr.splitlines()[-1] == f"ppc: {error['message']}"
    assert not list(texts.glob("new*"))


@pytest.mark.parametrize(
    "asked",
    [
        "inspect plan.bin",
        "simulate plan.bin --text w1 --tokenizer tokenizer.json",
        "evaluate plan.bin --data dev.tsv --tokenizer tokenizer.json --private 1",
    ],
)
def test_a_plan_is_looked_at_without(asked: str, texts: Path) -> None:
    arguments = [str(texts / each) if "." in each else each for each in asked.split()]
    done = without((*EXTRAS, "ppc.frontend.read", "ppc.passes"), COMMAND, *arguments, "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)


@pytest.mark.parametrize("call", ["ppc.compile('m.onnx')", "ppc.check('m.onnx')"])
def test_in_python_it_is_an_error_of_ours(call: str) -> None:
    code = f"import ppc\ntry:\n    {call}\nexcept ppc.Error as fault:\n    print(fault.exit_status, fault)"
    done = without(EXTRAS, code)
    assert done.returncode == 0, done.stderr
    assert re.match("2 reading an ONNX model needs " + FOR_COMPILING, done.stdout)


def test_a_client_hears_what_its_plan_takes_before_it_connects(tmp_path: Path) -> None:
    """Where the client's own part has an operator that ONNX Runtime alone computes."""
    op = Onnx(operator="Hardmax", opset=17, result=0, results=1, kinds=("float",), shape=(1, 3))
    plan = tiny_plan()
    asking = msgspec.structs.replace(plan, local=(*plan.local, Apply(op, (0,))))
    save(asking, tmp_path / "plan.bin")
    arguments = ["prepare", str(tmp_path / "plan.bin"), "--role", "client", "--connect", "127.0.0.1:1"]
    done = without(EXTRAS, COMMAND, *arguments)
    assert done.returncode == 2
    assert re.search("ppc: 'Hardmax' at the client needs " + FOR_COMPILING, done.stderr), done.stderr
