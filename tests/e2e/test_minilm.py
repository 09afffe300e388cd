"""The packaged sentence model, through the API, between two threads over TCP."""

from __future__ import annotations

import threading
from typing import Any

import numpy as np
import pytest
from real import MINILM, MINILM_OUTPUT, SENTENCES, TOKENIZER, feeds_of, minilm, needed

import ppc
from ppc.frontend.read import run
from ppc.runtime.party.role import CLIENT, SERVER

TOKENS = 16
PHASES = ("setup", "offline", "online")


def infer(compiled: Any, feeds: dict[str, np.ndarray]) -> tuple[np.ndarray, dict[str, Any], dict[str, Any]]:
    """The client's output and both reports."""
    told: list[str] = []
    reports: list[dict[str, Any]] = []
    ready = threading.Event()

    def say(line: str) -> None:
        told.append(line)
        ready.set()

    server = ppc.Server(compiled.plan, compiled.weights, timeout=60)
    thread = threading.Thread(
        target=server.serve,
        args=(("127.0.0.1", 0),),
        kwargs={"once": True, "say": say, "done": reports.append},
        daemon=True,
    )
    thread.start()
    assert ready.wait(20)
    host, port = told[0].split()[-1].split(":")
    outcome = ppc.Client(compiled.plan, timeout=60).run(feeds, (host, int(port)))
    thread.join(timeout=20)
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
