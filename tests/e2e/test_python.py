"""The face in Python: paths and addresses as one writes them, whatever holds numbers, one tree of errors."""

from __future__ import annotations

import ast
import asyncio
import json
import re
import socket
from pathlib import Path

import numpy as np
import onnx
import pytest
from sides import serving_here
from small import ROOT, TOKENS
from text_model import TOKENS as WORDS
from text_model import text_model, word_tokenizer

import ppc
from models.tiny_bert import OUTPUTS, sample
from ppc.runtime.net.address import parsed, shown


@pytest.fixture(scope="module")
def folder(small, tmp_path_factory) -> str:
    """Its name, with a plan."""
    made = str(tmp_path_factory.mktemp("python"))
    small.compiled.save(f"{made}/plan.bin", f"{made}/plan.weights")
    return made


def test_paths_are_strings_and_addresses_host_and_port(folder):
    plan = ppc.load_plan(f"{folder}/plan.bin")
    weights = ppc.load_weights(f"{folder}/plan.weights", plan)
    server = ppc.Server(plan, weights, store=f"{folder}/none")
    feeds = sample(TOKENS, used=6)
    with serving_here(server) as (address, _):
        outcome = ppc.Client(plan, store=f"{folder}/none").run(feeds, shown(address))
    assert outcome.outputs is not None
    simulated = ppc.simulate(plan, weights, {name: value.tolist() for name, value in feeds.items()})
    assert np.abs(outcome.outputs[OUTPUTS[1]] - simulated[OUTPUTS[1]]).max() < 0.05


def test_beside_an_event_loop(folder):
    """It goes on while two parties compute."""
    plan = ppc.load_plan(f"{folder}/plan.bin")
    server = ppc.Server(plan, ppc.load_weights(f"{folder}/plan.weights", plan))

    async def both(address: tuple[str, int]) -> int:
        asked = asyncio.create_task(ppc.Client(plan).run_async(sample(TOKENS, used=6), address))
        turns = 0
        while not asked.done():
            turns += 1
            await asyncio.sleep(0.01)
        assert (await asked).outputs is not None
        return turns

    with serving_here(server) as (address, _):
        assert asyncio.run(both(address)) > 3


class Tensor:
    """What a tensor of PyTorch's is that has a gradient and lies elsewhere."""

    def __init__(self, values: np.ndarray) -> None:
        self._values = values

    def __array__(self, *args: object, **options: object) -> np.ndarray:
        raise RuntimeError("Can't call numpy() on Tensor that requires grad. Use tensor.detach() instead")

    def detach(self) -> Tensor:
        return self

    def cpu(self) -> np.ndarray:
        return self._values


def test_whatever_holds_numbers_is_an_input(small):
    plan, weights, feeds = small.compiled.plan, small.compiled.weights, sample(TOKENS, used=6)
    wanted = ppc.simulate(plan, weights, feeds)
    tensors = {name: Tensor(value) for name, value in feeds.items()}
    lists = {name: value.tolist() for name, value in feeds.items()}
    for given in (tensors, lists):
        found = ppc.simulate(plan, weights, given)
        assert all(np.array_equal(found[name], wanted[name]) for name in OUTPUTS)
    with pytest.raises(ppc.Error, match="input 'input_ids' is no array"):
        ppc.simulate(plan, weights, feeds | {"input_ids": [[1, 2], [3]]})


def test_one_output_goes_by_its_name(small):
    (told,) = ppc.compile(str(small.model), seq_len=4, outputs=OUTPUTS[1]).plan.outputs
    assert told.name == OUTPUTS[1]
    assert list(ppc.check(str(small.model), seq_len=4, outputs=OUTPUTS[1]).shapes) == [OUTPUTS[1]]


def test_a_plan_is_inspected_over_a_network(small):
    near, far = (ppc.inspect(small.compiled.plan, network=name) for name in ("lan", "wan"))
    assert near["plan"] == far["plan"] == small.compiled.plan.hash
    assert far["predicted"]["online"]["seconds"] > 2 * near["predicted"]["online"]["seconds"]


@pytest.mark.parametrize(
    "address",
    ["localhost", "localhost:", ":7766", "localhost:99999", ("localhost", -1), 7766, None, ("a",), (1, 2)],
)
def test_what_is_no_address(address):
    with pytest.raises(ppc.Error, match="an address is HOST:PORT"):
        parsed(address)


def test_addresses():
    assert parsed("[::1]:7766") == parsed(("::1", 7766)) == ("::1", 7766)
    assert parsed("example.org:1") == ("example.org", 1)


def with_status(root: Path) -> set[str]:
    """Classes that say which exit status they give the command line."""
    return {
        node.name
        for room in ("runtime", "frontend", "passes", "backend", "ppc")
        for path in (root / room).rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.ClassDef)
        and any(
            isinstance(each, ast.Assign) and ast.unparse(each.targets[0]) == "exit_status"
            for each in node.body
        )
    }


def test_all_that_users_meet_is_one_tree():
    import ppc.backend.compile  # and with it every room

    def below(kind: type) -> set[str]:
        return {kind.__name__}.union(*map(below, kind.__subclasses__()))

    stated = with_status(ROOT) - {"Diverged", "NotTheStudent"}  # which are imported with PyTorch
    assert len(stated) > 8
    assert stated <= below(ppc.Error)


def test_the_readme_names_what_there_is():
    text = (ROOT / "README.md").read_text()
    for name in re.findall(r"\bppc\.(\w+)", text):
        if name not in ("cli", "toml"):
            assert hasattr(ppc, name), name


def test_the_readmes_snippet_runs_as_pasted(tmp_path, monkeypatch, capsys):
    """In a folder with its files; of a model that holds fewer words and tokens."""
    snippet = re.search(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)[1]
    text_model(tmp_path / "model.onnx", "logits")
    model = onnx.load(tmp_path / "model.onnx")
    model.graph.node.append(onnx.helper.make_node("Identity", ["logits"], ["embedding"]))
    model.graph.output[0].name = "embedding"
    onnx.save(model, tmp_path / "model.onnx")
    word_tokenizer(tmp_path / "tokenizer.json")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = str(free.getsockname()[1])
    for said, here in (
        ("7766", port),
        ("seq_len=64", f"seq_len={WORDS}"),
        ("A man is playing a guitar.", "w3 w1"),
    ):
        assert said in snippet
        snippet = snippet.replace(said, here)
    monkeypatch.chdir(tmp_path)
    exec(compile(snippet, "README.md", "exec"), {})
    assert "'flights'" in capsys.readouterr().out


def test_the_notebook_runs_from_top_to_bottom():
    cells = json.loads((ROOT / "docs" / "tour.ipynb").read_text())["cells"]
    code = ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"]
    assert len(code) > 6
    names: dict[str, object] = {}
    for number, each in enumerate(code):
        exec(compile(each, f"tour.ipynb, code cell {number}", "exec"), names)
    assert names["outcome"].outputs["sentence_embedding"].shape == (1, 32)


def test_a_server_in_a_thread_is_stopped(folder):
    """It goes on after a client that fails, and nobody listens when it has been stopped, once or twice."""
    plan = ppc.load_plan(f"{folder}/plan.bin")
    server = ppc.Server(plan, ppc.load_weights(f"{folder}/plan.weights", plan))
    with server.start("127.0.0.1:0") as running:
        socket.create_connection(running.address).close()
        assert ppc.Client(plan).run(sample(TOKENS, used=6), running.address).outputs is not None
        where = running.address
    running.stop()
    with pytest.raises(ppc.Error, match="cannot reach a server"):
        ppc.Client(plan, patience=0).run(sample(TOKENS, used=6), where)
    with server.start(where) as again:
        assert again.address == where
