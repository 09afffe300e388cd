"""Architectures × exporters × opsets × attention: compiled, simulated against ONNX Runtime, and run.

Exports that come to the same graph are compiled once. PPC_UPDATE=1 with all of them writes docs/models.md.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from small import ROOT
from whole import Error, compiled, cost_as_predicted, megabytes, open_axes, simulated_errors, two_parties

for needed in ("torch", "transformers", "onnxscript"):
    pytest.importorskip(needed)

import ppc  # noqa: E402
from models import architectures  # noqa: E402
from models.architectures import ALL, ARCHITECTURES, FURTHER, export, sample  # noqa: E402
from ppc import passes  # noqa: E402
from ppc.backend.compile import Compiled  # noqa: E402
from ppc.frontend.ir import ops  # noqa: E402
from ppc.frontend.ir.graph import Graph, walk  # noqa: E402
from ppc.frontend.ir.text import show  # noqa: E402
from ppc.frontend.read.load import load  # noqa: E402
from ppc.frontend.read.run import run  # noqa: E402

pytestmark = pytest.mark.slow

TOKENS = 16
ALLOWED = 0.01
"""Of an output's standard deviation."""

DOCUMENT = ROOT / "docs" / "models.md"


@dataclass(frozen=True)
class Case:
    name: str
    exporter: architectures.Exporter
    opset: int
    attention: architectures.Attention
    batch: int = 1

    def __str__(self) -> str:
        return f"{self.name}-{self.exporter}-{self.opset}-{self.attention}-{self.batch}"


def cases() -> Iterator[Case]:
    """Every opset that an exporter writes; attention as one operator of PyTorch from opset 14 on."""
    for name in ARCHITECTURES:
        for opset in (13, 14, 15, 16, 17, 18, 20, 23):
            yield Case(name, "torchscript", opset, "eager")
            if opset > 13:
                yield Case(name, "torchscript", opset, "sdpa")
        for opset in (18, 20, 21, 23):
            yield Case(name, "dynamo", opset, "eager")
            yield Case(name, "dynamo", opset, "sdpa")
        yield Case(name, "torchscript", 17, "sdpa", batch=2)
    for name in FURTHER:
        yield Case(name, "torchscript", 17, "eager")
        yield Case(name, "dynamo", 18, "eager")


@dataclass(frozen=True)
class Result:
    errors: dict[str, Error]
    offline: float
    online: float


class Zoo:
    """Exported files and what they compile to."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.known: dict[str, tuple[Compiled, Result]] = {}
        self.rows: dict[Case, Result] = {}

    def exported(self, case: Case) -> Path:
        path = self.folder / f"{case}.onnx"
        if not path.exists():
            export(
                case.name, path, exporter=case.exporter, opset=case.opset, attention=case.attention,
                tokens=TOKENS, batch=case.batch,
            )  # fmt: skip
        return path

    def compiled(self, case: Case) -> tuple[Path, Compiled, Result]:
        path = self.exported(case)
        mark = f"{case.name} {fingerprint(load(path, dims=open_axes(path, TOKENS, case.batch)))}"
        if mark not in self.known:
            made = compiled(
                path, feeds(case, range(1000, 1016)), tokens=TOKENS, batch=case.batch, max_error=ALLOWED
            )
            errors = simulated_errors(path, made, feeds(case, range(8)), padding=not ALL[case.name].local)
            self.known[mark] = made, Result(errors, *megabytes(made))
        made, result = self.known[mark]
        self.rows[case] = result
        return path, made, result


def feeds(case: Case, seeds: range) -> list[dict[str, np.ndarray]]:
    """Prompts of different lengths."""
    return [
        sample(case.name, tokens=TOKENS, batch=case.batch, used=(16, 11, 7, 14)[seed % 4], seed=seed)
        for seed in seeds
    ]


def fingerprint(graph: Graph) -> str:
    """Of what is left when every formula has its one spelling; weights to five digits."""
    state = passes.run(graph, stop_after="fold_scale")
    seen = hashlib.sha256(show(state.graph, names=False).encode())
    for op in walk(state.graph):
        if isinstance(op, ops.Const):
            seen.update(np.clip(np.asarray(op.value, np.float64), -1e6, 1e6).round(4).tobytes())
    return seen.hexdigest()


@pytest.fixture(scope="module")
def zoo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Zoo]:
    made = Zoo(tmp_path_factory.mktemp("zoo"))
    yield made
    if os.environ.get("PPC_UPDATE") and len(made.rows) == len(list(cases())):
        DOCUMENT.write_text(document(made.rows))


@pytest.mark.parametrize("case", list(cases()), ids=str)
def test_it_compiles_and_the_simulator_agrees_with_onnx_runtime(zoo: Zoo, case: Case) -> None:
    _, _, result = zoo.compiled(case)
    assert set(result.errors) == set(ALL[case.name].outputs)
    assert {name: error.worst for name, error in result.errors.items() if error.worst > ALLOWED} == {}


RUN = [
    *(Case(name, "torchscript", 17, "sdpa") for name in ARCHITECTURES),
    *(Case(name, "torchscript", 17, "eager") for name in FURTHER),
    Case("bert-classification", "torchscript", 17, "sdpa", batch=2),
]


@pytest.mark.parametrize("case", RUN, ids=str)
def test_two_parties_agree_with_the_simulator_at_the_price_foretold(zoo: Zoo, case: Case) -> None:
    path, made, _ = zoo.compiled(case)
    (prompt,) = feeds(case, range(1, 2))
    assert two_parties_agree(path, made, prompt)


@pytest.mark.parametrize("case", RUN, ids=str)
def test_under_friendly_too(zoo: Zoo, case: Case) -> None:
    """Held against the model as the profile makes it, which ONNX Runtime runs. A row of attention that the
    ReLU cuts off nearly whole divides by nearly nothing, so that the worst is no measure here."""
    plain = zoo.folder / f"{case}-friendly.onnx"
    made = compiled(
        zoo.exported(case), feeds(case, range(1000, 1016)), tokens=TOKENS, batch=case.batch,
        max_error=ALLOWED, profile="friendly", emit_onnx=plain,
    )  # fmt: skip
    assert made.applied
    errors = simulated_errors(plain, made, feeds(case, range(4)), padding=not ALL[case.name].local)
    assert {name: error.typical for name, error in errors.items() if error.typical > ALLOWED / 2} == {}
    (prompt,) = feeds(case, range(1, 2))
    assert two_parties_agree(plain, made, prompt)


def two_parties_agree(path: Path, made: Compiled, prompt: dict[str, np.ndarray]) -> bool:
    """Rounding is random in two parties, so the two differ by as much as each does from the model."""
    server, client = two_parties(made, prompt)
    assert server.outputs is None
    assert client.outputs is not None
    exact = run(path, prompt, list(client.outputs))
    for output, meant in ppc.simulate(made.plan, made.weights, prompt).items():
        assert np.abs(client.outputs[output] - meant).max() < 2 * ALLOWED * exact[output].std()
    return cost_as_predicted(server, client)


def document(rows: dict[Case, Result]) -> str:
    """docs/models.md: one line for all opsets that give the same numbers."""
    lines = [
        "# Architectures",
        "",
        "Two layers of width 32 from transformers' configurations, seeded weights, 16 tokens, compiled with",
        "`--max-error 0.01`. Errors of the simulator against ONNX Runtime on prompts that calibration has",
        "not seen, as a part of the output's standard deviation: the largest, and the root mean square.",
        "ModernBERT's, whose attention is local, without what tokens of padding give. Trained models:",
        "[trained.md](trained.md).",
        "Made by `PPC_UPDATE=1 pytest -m slow tests/models/test_architectures.py`.",
        "",
        "| model | batch | exporter | attention | opsets | output | largest | rms | offline MB | online MB |",
        "| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    merged: dict[tuple[str, ...], list[int]] = {}
    for case, result in rows.items():
        for output, error in result.errors.items():
            key = (
                case.name, str(case.batch), case.exporter, case.attention, output, f"{error.worst:.2%}",
                f"{error.typical:.3%}", f"{result.offline:.1f}", f"{result.online:.2f}",
            )  # fmt: skip
            merged.setdefault(key, []).append(case.opset)
    for key, opsets in merged.items():
        name, batch, exporter, attention, *rest = key
        which = ", ".join(map(str, sorted(set(opsets))))
        lines.append("| " + " | ".join((name, batch, exporter, attention, which, *rest)) + " |")
    return "\n".join(lines) + "\n"
