"""Decoders as PyTorch exports them, with past and without: what is generated is what floats say."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("transformers")

import ppc
from models.with_past import DECODERS, export
from ppc.frontend.read.run import Runner

PROMPT = (5, 17, 80, 3, 42, 9)
MOST = 6


@pytest.mark.slow
@pytest.mark.parametrize("cached", [True, False])
@pytest.mark.parametrize("name", DECODERS)
def test_greedy_tokens_are_those_of_floats(name, cached, tmp_path):
    model = export(name, tmp_path / f"{name}.onnx", cached=cached)
    made = ppc.compile_generation(model, prompts=[8], most=MOST)
    runner, said = Runner(model, ["logits"]), list(PROMPT)
    for token, answer in ppc.simulate_generation(made.plan, made.weights, PROMPT, MOST):
        count = len(said)
        feeds = {"input_ids": [said], "attention_mask": [[1] * count], "position_ids": [list(range(count))]}
        wanted = runner.run(feeds)["logits"][0, -1]
        assert np.abs(answer.outputs["logits"].ravel() - wanted).max() < 0.05 * wanted.std()
        assert token == wanted.argmax()
        said.append(token)
    assert len(said) == len(PROMPT) + MOST
