"""Sentences that calibration has not met stay in their rings; skipped where there are none."""

from __future__ import annotations

import numpy as np
import pytest
from real import MINILM, MINILM_OUTPUT, TOKENIZER, needed, sentences

import ppc
from models.texts import encoded
from ppc.frontend.read.run import run

TOKENS, SHOWN, TRIED = 48, 32, 96


def feeds_of(texts: list[str]) -> list[dict[str, np.ndarray]]:
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(needed(TOKENIZER))
    return [encoded(tokenizer, ("input_ids", "attention_mask"), text, TOKENS) for text in texts]


def left(shown: list[dict[str, np.ndarray]], tried: list[dict[str, np.ndarray]], margin: float | None) -> int:
    """Of the tried sentences how many leave a ring."""
    made = ppc.compile(
        needed(MINILM), seq_len=TOKENS, outputs=(MINILM_OUTPUT,), calibrate=shown, margin=margin
    )
    found = ppc.Simulator(made.plan, made.weights).run(tried, wrapping=True)
    for feeds, each in zip(tried[:4], found, strict=False):
        wanted = run(needed(MINILM), feeds, [MINILM_OUTPUT])[MINILM_OUTPUT][0]
        got = each.outputs[MINILM_OUTPUT][0]
        if not each.wraps:
            assert got @ wanted > 0.999 * np.linalg.norm(got) * np.linalg.norm(wanted)
    return sum(bool(each.wraps) for each in found)


@pytest.mark.parametrize(("kind", "other"), [("sst2", "mrpc"), ("mrpc", "sst2")])
def test_sentences_of_another_kind_stay_in_their_rings(kind, other):
    shown = feeds_of(sentences(kind)[:SHOWN])
    tried = feeds_of(sentences(kind)[SHOWN : SHOWN + TRIED // 2] + sentences(other)[: TRIED // 2])
    assert left(shown, tried, None) == 0


def test_without_a_margin_they_do_not():
    shown, tried = feeds_of(sentences("sst2")[:4]), feeds_of(sentences("mrpc")[:TRIED])
    assert left(shown, tried, 1.0) > 0
