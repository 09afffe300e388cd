"""A prompt as the plan's inputs, through the model's own tokenizer file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..base.errors import BadInput
from ..plan.file import Plan


def tokenize(plan: Plan, text: str, tokenizer: Path) -> dict[str, NDArray[Any]]:
    """ids, mask and types of ``text``, padded to the shortest length of the plan that holds it; never cut."""
    from tokenizers import Tokenizer

    try:
        loaded = Tokenizer.from_file(str(tokenizer))
    except Exception as error:  # the library raises bare Exception
        raise BadInput(f"{tokenizer}: not a readable tokenizer.json: {error}") from None
    loaded.no_truncation()
    loaded.no_padding()
    encoded = loaded.encode(text)
    given = {
        "input_ids": encoded.ids,
        "attention_mask": encoded.attention_mask,
        "token_type_ids": encoded.type_ids,
    }
    plan = next((each for each in plan.lengths if len(encoded.ids) <= _tokens(each)), plan)
    feeds = {}
    for spec in plan.inputs:
        if spec.name not in given:
            raise BadInput(f"the plan's input {spec.name!r} does not come from a tokenizer; use --input")
        row, length = given[spec.name], spec.shape[-1]
        if len(row) > length:
            raise BadInput(
                f"the prompt has {len(row)} tokens, the plan holds {length}; compile with a longer --seq-len"
            )
        padding = _pad_id(loaded) if spec.name == "input_ids" else 0
        feeds[spec.name] = np.array([[*row, *[padding] * (length - len(row))]], np.int64).reshape(spec.shape)
    return feeds


def _tokens(plan: Plan) -> int:
    return min(spec.shape[-1] for spec in plan.inputs)


def _pad_id(tokenizer: Any) -> int:
    for token in ("[PAD]", "<pad>", "<|endoftext|>"):
        found = tokenizer.token_to_id(token)
        if found is not None:
            return int(found)
    return 0
