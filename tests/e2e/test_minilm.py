"""The packaged sentence model, through the API, between two threads over TCP."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from real import MINILM, MINILM_OUTPUT, SENTENCES, TOKENIZER, feeds_of, minilm, needed
from sides import serving_here

import ppc
from ppc.frontend.read import run
from ppc.runtime.party.role import CLIENT, SERVER

TOKENS = 16
PHASES = ("setup", "offline", "online")


def infer(compiled: Any, feeds: dict[str, np.ndarray]) -> tuple[np.ndarray, dict[str, Any], dict[str, Any]]:
    """The client's output and both reports."""
    reports: list[dict[str, Any]] = []
    options = ppc.SessionOptions(timeout=60)
    server = ppc.Server(compiled.plan, compiled.weights, options)
    with serving_here(server, done=reports.append) as (address, _):
        outcome = ppc.Client(compiled.plan, options).run(feeds, address)
    return outcome.outputs[MINILM_OUTPUT][0], outcome.report, reports[0]


@pytest.mark.parametrize("sentence", SENTENCES)
def test_a_private_embedding_is_onnx_runtimes(sentence):
    compiled = minilm(TOKENS)
    feeds = feeds_of(compiled.plan, sentence, TOKENS)
    private, client, server = infer(compiled, feeds)
    plain = run.run(needed(MINILM), feeds, [MINILM_OUTPUT])[MINILM_OUTPUT][0]
    cosine = private @ plain / np.linalg.norm(private) / np.linalg.norm(plain)
    assert cosine >= 0.9999
    for role, report in ((CLIENT, client), (SERVER, server)):
        assert report["role"] == role.value
        for row in [*(report[p] | {"predicted": report["predicted"][p]} for p in PHASES), *report["steps"]]:
            assert {k: row[k] for k in ("sent", "received", "flights")} == {
                k: row["predicted"][k] for k in ("sent", "received", "flights")
            }
    assert [r["sent"] for r in client["steps"]] == [r["received"] for r in server["steps"]]
    assert sum(row["sent"] for row in client["steps"]) > 1_000_000


def test_a_prompt_that_is_too_long_is_refused():
    plan = minilm(TOKENS).plan
    with pytest.raises(ppc.RuntimeFault, match="tokens, the plan holds 16"):
        ppc.tokenize(plan, "word " * 20, needed(TOKENIZER))
