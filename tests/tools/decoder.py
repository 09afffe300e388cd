"""A seeded decoder of two small layers, compiled to generate, and what floats say follows a prompt."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from models.llama import WORDS
from ppc.backend.compile import Compiled
from ppc.frontend.read.run import Runner

PROMPTS, MOST, TOGETHER = (4, 8), 8, 8
PROMPT = (5, 17, 80, 3, 42, 9)
"""Of six tokens, so that two of padding stand in front."""


@dataclass(frozen=True)
class Decoder:
    model: Path
    compiled: Compiled

    @cached_property
    def _runner(self) -> Runner:
        return Runner(self.model, ["logits"])

    def logits(self, ids: Sequence[int]) -> NDArray[np.float32]:
        """(words): what ONNX Runtime says of the token after ``ids``, all at once."""
        count = len(ids)
        feeds = {
            "input_ids": [list(ids)],
            "attention_mask": [[1] * count],
            "position_ids": [list(range(count))],
        }
        said: NDArray[np.float32] = self._runner.run(feeds)["logits"][0, -1]
        return said

    def greedy(self, ids: Sequence[int], count: int) -> list[int]:
        """The likeliest tokens, one after the other."""
        said = list(ids)
        for _ in range(count):
            said.append(int(self.logits(said).argmax()))
        return said[len(ids) :]


def tokenizer(path: Path) -> Path:
    """A tokenizer whose words are w0, w1, …"""
    from tokenizers import Tokenizer, models, pre_tokenizers

    made = Tokenizer(models.WordLevel({f"w{i}": i for i in range(WORDS)}, unk_token="w0"))
    made.pre_tokenizer = pre_tokenizers.Whitespace()
    made.save(str(path))
    return path
