"""The face in Python: paths and addresses as one writes them, whatever holds numbers, one tree of errors."""

from __future__ import annotations

import ast
import asyncio
import re
from pathlib import Path

import numpy as np
import pytest
from sides import serving_here
from small import ROOT, TOKENS

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
    "address", ["localhost", "localhost:", ":7766", "localhost:99999", ("localhost", -1)]
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


def test_the_readmes_snippet_names_what_there_is():
    text = (ROOT / "README.md").read_text()
    snippet = re.search(r"```python\n(.*?)```", text, re.DOTALL)[1]
    assert "Path" not in snippet
    for name in re.findall(r"\bppc\.(\w+)", text):
        if name not in ("cli", "toml"):
            assert hasattr(ppc, name), name
