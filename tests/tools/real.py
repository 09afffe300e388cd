"""The packaged sentence model and its tokenizer; tests that need them are skipped where they are missing."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest

import ppc
from models.packaged import MINILM, MINILM_OUTPUT, TOKENIZER, packaged
from models.texts import encoded, texts
from ppc.backend.compile import Compiled
from ppc.runtime.plan.file import Plan

SENTENCES = ("A man is playing a guitar on stage.", "Someone performs music.")


def needed(name: str) -> str:
    """The path of a packaged file, or a skip that says what to install."""
    try:
        return str(packaged(name))
    except FileNotFoundError as missing:
        pytest.skip(str(missing))


@cache
def minilm(tokens: int) -> Compiled:
    """The model compiled for so many tokens, once for all tests."""
    return ppc.compile(needed(MINILM), seq_len=tokens, outputs=(MINILM_OUTPUT,))


def feeds_of(plan: Plan, text: str, tokens: int) -> dict[str, np.ndarray]:
    """``text`` as the plan's inputs, cut to length."""
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(needed(TOKENIZER))
    return encoded(tokenizer, [spec.name for spec in plan.inputs], text, tokens)


def sentences(name: str) -> list[str]:
    """The sentences of a set of GLUE, or a skip that says where they are looked for."""
    try:
        return texts(name)
    except FileNotFoundError as missing:
        pytest.skip(str(missing))


__all__ = ["MINILM", "MINILM_OUTPUT", "SENTENCES", "TOKENIZER", "feeds_of", "minilm", "needed", "sentences"]
