"""Prompts as the plan's inputs, through the model's own tokenizer file."""

from __future__ import annotations

import logging
import re
from collections.abc import Sequence
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..base.errors import BadInput
from ..plan.file import InputSpec, Plan
from ..session.inputs import naming, once
from .tokenizer import encoding, load_tokenizer

if TYPE_CHECKING:
    from tokenizers import Encoding, Tokenizer

log = logging.getLogger(__name__)

Feeds = dict[str, NDArray[Any]]

_MEANINGS = {
    "ids": ("input_ids", "input_word_ids", "word_ids"),
    "mask": ("attention_mask", "input_mask"),
    "types": ("token_type_ids", "segment_ids", "input_type_ids"),
    "places": ("position_ids",),
}
"""What PyTorch's and TensorFlow's exporters call the inputs of a text model."""


STRANGE = 0.1
"""A tokenizer and a table may differ by this part and belong together; tables are padded a bit."""


def tokenize(plan: Plan, text: str, tokenizer: str | Path, pair: str | None = None) -> Feeds:
    """The inputs of ``text``, or of it and what goes with it; see `tokenize_all`."""
    return tokenize_all(plan, [text], tokenizer, None if pair is None else [pair])[0]


def tokenize_all(
    plan: Plan, texts: Sequence[str], tokenizer: str | Path, pairs: Sequence[str] | None = None
) -> list[Feeds]:
    """Ids, mask, types and positions, as the plan asks for them, of each text with its pair.

    All are padded to one length, the shortest of the plan that holds the longest; nothing is cut. Raises
    BadInput for a prompt without tokens or with too many, and for an input that is not made of text.
    """
    if pairs is not None and len(pairs) != len(texts):
        raise BadInput(f"{len(texts)} texts and {len(pairs)} pairs; each text wants one, or none has one")
    once(plan)
    encoder = Encoder(Path(tokenizer), [each.inputs for each in plan.lengths])
    encoded = []
    for i, text in enumerate(texts):
        with naming(i, len(texts)):
            encoded.append(encoder.encode(text, pairs[i] if pairs else None))
            count = len(encoded[-1].ids)
            if count > encoder.held:
                raise BadInput(
                    f"the prompt has {count} tokens, the plan holds {encoder.held}; compile with a longer "
                    "--seq-len"
                )
    return encoder.feeds(encoded)


class Encoder:
    """A model's tokenizer, and what the model asks of it: its inputs at each of its lengths, ascending.

    Raises BadInput for a file that is no tokenizer, and for an input that is not made of text.
    """

    def __init__(self, tokenizer: Path, lengths: Sequence[Sequence[InputSpec]]) -> None:
        self._tokenizer, self._lengths = load_tokenizer(tokenizer), lengths
        self.held = _held(lengths[-1])
        """The tokens that the longest holds."""
        self.rows = prod(lengths[-1][0].shape[:-1]) if lengths[-1] else 1
        """Prompts that are given together."""
        known, rows = self._tokenizer.get_vocab_size(), table_rows(lengths[-1])
        if rows is not None and abs(known - rows) > STRANGE * rows:
            log.warning(
                "%s has %d tokens, and the model's table has %d rows: is it the model's own?",
                tokenizer,
                known,
                rows,
            )

    def encode(self, text: str, pair: str | None = None) -> Encoding:
        """All tokens of a prompt, however many. Raises BadInput for one without any."""
        return encoding(self._tokenizer, text, pair)

    def cut(self, text: str, pair: str | None = None) -> Encoding:
        """As many as the model holds, the longer of a pair cut first."""
        self._tokenizer.enable_truncation(self.held)
        try:
            return self.encode(text, pair)
        finally:
            self._tokenizer.no_truncation()

    def feeds(self, encoded: Sequence[Encoding], *, alike: bool = True) -> list[Feeds]:
        """Inputs of prompts that the model holds, `rows` of them at a time, the last one again where some are
        wanting; each padded to the shortest length that holds it, ``alike`` to one, which holds all.
        """
        groups = [encoded[i : i + self.rows] for i in range(0, len(encoded), self.rows)]
        groups = [[*group, *[group[-1]] * (self.rows - len(group))] for group in groups]
        counts = [max(len(each.ids) for each in group) for group in groups]
        wanted = [max(counts)] * len(counts) if alike and counts else counts
        chosen = [next(each for each in self._lengths if count <= _held(each)) for count in wanted]
        if any(count < _held(each) for count, each in zip(counts, chosen, strict=True)):
            _warn_of_padding(chosen[0])
        pad = _pad_id(self._tokenizer)
        return [
            {
                spec.name: np.array([_row(spec, each, pad) for each in group], np.int64).reshape(spec.shape)
                for spec in specs
            }
            for group, specs in zip(groups, chosen, strict=True)
        ]


def meaning(name: str) -> str | None:
    """Which of `_MEANINGS` an input's name has; TensorFlow's exporters write more around it."""
    plain = re.sub(r":\d+$", "", name).removeprefix("serving_default_")
    return next((what for what, names in _MEANINGS.items() if plain in names), None)


def table_rows(inputs: Sequence[InputSpec]) -> int | None:
    """How many tokens a plan's model knows, where the plan says so."""
    ids = next((each for each in inputs if meaning(each.name) == "ids"), None)
    return None if ids is None or ids.high is None else int(ids.high) + 1


def _row(spec: InputSpec, encoded: Encoding, pad: int) -> list[int]:
    """What a prompt gives to one input."""
    length = spec.shape[-1]
    rest = [0] * (length - len(encoded.ids))
    return {
        "ids": [*encoded.ids, *([pad] * len(rest))],
        "mask": [*encoded.attention_mask, *rest],
        "types": [*encoded.type_ids, *rest],
        "places": list(range(length)),
    }[meaning(spec.name) or "ids"]


def _held(inputs: Sequence[InputSpec]) -> int:
    """The tokens that a prompt may have; BadInput for inputs that are no rows of tokens, as many of each."""
    rows = {spec.shape[:-1] for spec in inputs}
    for spec in inputs:
        if meaning(spec.name) is None:
            raise BadInput(
                f"input {spec.name!r} does not come from a tokenizer; give the inputs, as npz or JSON"
            )
        if not spec.shape or (prod(spec.shape[:-1]) > 1 and (len(spec.shape) > 2 or len(rows) > 1)):
            raise BadInput(
                f"input {spec.name!r} of shape {spec.shape} is no row of tokens for each prompt; give the "
                "inputs, as npz or JSON"
            )
    return min((spec.shape[-1] for spec in inputs), default=0)


def _warn_of_padding(inputs: Sequence[InputSpec]) -> None:
    if not any(meaning(spec.name) == "mask" for spec in inputs):
        log.warning("the model has no mask: it reads the padding of a shorter prompt as tokens")


def _pad_id(tokenizer: Tokenizer) -> int:
    for token in ("[PAD]", "<pad>", "<|endoftext|>"):
        found = tokenizer.token_to_id(token)
        if found is not None:
            return int(found)
    return 0
