"""Real sentences, where they are: sets of GLUE in a folder beside the checkout, or where PPC_DATA says."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer

DATA = Path(__file__).resolve().parent.parent.parent / "shared" / "data"
"""Has glue/sst2/train.tsv and so on: tab-separated, a header, whole numbers in the columns that are no
text."""


def texts(name: str) -> list[str]:
    """Sentences of a set of GLUE, each once, in an order that is the same every time.

    Raises FileNotFoundError, saying what is wanted, where the set is not there.
    """
    data = Path(os.environ.get("PPC_DATA", DATA)) / "glue" / name
    found: dict[str, None] = {}
    for part in ("train", "dev"):
        path = data / f"{part}.tsv"
        if not path.is_file():
            raise FileNotFoundError(
                f"{path}: no such file; PPC_DATA=FOLDER wants glue/{name}/{part}.tsv in it"
            )
        for line in path.read_text(encoding="utf-8").splitlines()[1:]:
            found |= dict.fromkeys(cell for cell in line.split("\t") if len(cell) > 2 and not cell.isdigit())
    unique = list(found)
    return [unique[i] for i in np.random.default_rng(0).permutation(len(unique))]


def encoded(
    tokenizer: Tokenizer, inputs: Sequence[str], text: str, tokens: int
) -> dict[str, NDArray[np.int64]]:
    """A sentence as a model's inputs, cut or padded to so many tokens."""
    tokenizer.enable_truncation(tokens)
    tokenizer.enable_padding(length=tokens)
    found = tokenizer.encode(text)
    given = {
        "input_ids": found.ids,
        "attention_mask": found.attention_mask,
        "token_type_ids": found.type_ids,
    }
    return {name: np.array([given[name]], np.int64) for name in inputs}


def filled(
    tokenizer: Tokenizer, inputs: Sequence[str], some: Iterable[str], tokens: int
) -> Iterator[dict[str, NDArray[np.int64]]]:
    """Prompts of exactly so many tokens, of texts one behind the other: for models without a mask."""
    (name,) = inputs
    prompt = ""
    for text in some:
        prompt = f"{prompt} {text}".lstrip()
        ids = tokenizer.encode(prompt).ids
        if len(ids) >= tokens:
            yield {name: np.array([ids[:tokens]], np.int64)}
            prompt = ""
