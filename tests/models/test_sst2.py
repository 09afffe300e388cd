"""The classifier that is kept, as it was trained and as it was tuned: private answers are the model's own."""

from __future__ import annotations

import pytest
from small import ROOT

import ppc
from ppc.backend.samples import TextSamples
from ppc.backend.scores import Rate

pytestmark = pytest.mark.long

KEPT = ROOT / "models" / "sst2"
TOKENS = 32


@pytest.fixture(scope="module", params=["classifier", "friendly"])
def evaluated(request):
    model, tokenizer = KEPT / f"{request.param}.onnx", KEPT / "tokenizer.json"
    samples = TextSamples(ppc.read_data(KEPT / "calibration.tsv"), tokenizer)
    made = ppc.compile(model, seq_len=TOKENS, calibrate=samples)
    dev = ppc.read_data(KEPT / "dev.tsv")
    return ppc.evaluate(made.plan, made.weights, dev, tokenizer, model=model, private=2, truncate=True)


def test_private_answers_are_the_models(evaluated):
    assert evaluated.accuracy["float"].value >= 0.75
    assert evaluated.agreement["simulated as float"].value >= 0.99
    assert evaluated.agreement["two parties as simulated"] == Rate(2, 2)
    assert not evaluated.left
    assert evaluated.private.cost["as_predicted"]
