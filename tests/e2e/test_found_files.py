"""Files as quantization and optimization leave them, from ONNX to two parties, against ONNX Runtime."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import onnx
import pytest
from found_files import KINDS, VOCABULARY, file
from small import TOKENS
from whole import cost_as_predicted, two_parties

import ppc
from ppc.frontend.read.run import run
from ppc.runtime.plan.file import Plan

MASK = (np.arange(TOKENS)[None] < TOKENS - 2).astype(np.int64)


def feeds_of(plan: Plan, seed: int = 0) -> dict[str, np.ndarray]:
    random = np.random.default_rng(seed)
    feeds = {}
    for each in plan.inputs:
        if "mask" in each.name:
            feeds[each.name] = MASK
        else:
            feeds[each.name] = random.integers(0, VOCABULARY if each.name == "input_ids" else 2, each.shape)
    return feeds


def error(got: dict[str, np.ndarray], path: Path, feeds: dict[str, np.ndarray]) -> float:
    """The worst of any output, over the tokens that are there, in parts of its standard deviation."""
    worst = 0.0
    asked = {each.name for each in onnx.load(path).graph.input}
    more = {"attention_mask": MASK} if "attention_mask" in asked - set(feeds) else {}  # which no output reads
    for name, wanted in run(path, {**more, **feeds}, list(got)).items():
        seen = slice(None, TOKENS - 2) if wanted.ndim == 3 else slice(None)
        off = np.abs(got[name] - wanted)
        worst = max(worst, float(off[:, seen].max() / wanted.std()))
    return worst


@pytest.mark.parametrize("name", KINDS)
def test_simulated(name: str, tmp_path: Path) -> None:
    path = file(name, tmp_path)
    made = ppc.compile(path, seq_len=TOKENS)
    for seed in range(3):
        feeds = feeds_of(made.plan, seed)
        assert error(ppc.simulate(made.plan, made.weights, feeds), path, feeds) < KINDS[name]


@pytest.mark.parametrize("name", ["8 bits", "fused", "decoder, 4 bits"])
def test_two_parties(name: str, tmp_path: Path) -> None:
    path = file(name, tmp_path)
    made = ppc.compile(path, seq_len=TOKENS)
    feeds = feeds_of(made.plan)
    server, client = two_parties(made, feeds)
    assert client.outputs is not None
    assert error(client.outputs, path, feeds) < KINDS[name]
    assert cost_as_predicted(server, client)


@pytest.mark.parametrize(
    ("name", "places"),
    [
        ("8 bits", "4 × DynamicQuantizeLinear"),
        ("decoder, rounded", "6 × com.microsoft.MatMulNBits"),
        ("decoder, 4 bits", ""),
        ("optimized", ""),
    ],
)
def test_rounding_that_is_left_out_is_told(
    name: str, places: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "ppc")
    ppc.compile(file(name, tmp_path), seq_len=TOKENS)
    told = [each for each in caplog.messages if each.startswith("quantised: ")]
    assert bool(told) == bool(places)
    if told:
        assert f"at {places}; products are those of the floats" in told[0]
        assert all("of its standard deviation from that" in each for each in told[1:])
