"""The decoders of `architectures.py` with past: caches in, caches and new rows out, as optimum names them.

    python models/with_past.py llama decoder.onnx [--without]
    python models/with_past.py gpt2-small decoder.onnx

And without: ids, mask and positions of a whole text in, its logits out. ``gpt2-small`` is of GPT-2's own
size, 124 M seeded parameters.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import torch
from torch import nn
from transformers import GPT2Config, GPT2LMHeadModel
from transformers.cache_utils import DynamicCache

sys.path.append(str(Path(__file__).parent))

from architectures import ALL, quiet, widen

SMALL = "gpt2-small"
DECODERS = ("gpt2", "llama", "opt", "qwen2", SMALL)

PAST, NEW = 3, 2
"""Rows and tokens that the exporter traces the model with."""


class WithPast(nn.Module):  # type: ignore[misc]
    """Keys and values of every layer one after the other, behind ids, mask and positions."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(
        self, ids: torch.Tensor, mask: torch.Tensor, places: torch.Tensor, *past: torch.Tensor
    ) -> tuple[torch.Tensor, ...]:
        cache = DynamicCache()
        for i in range(0, len(past), 2):
            cache.update(past[i], past[i + 1], i // 2)
        found = self.model(
            input_ids=ids, attention_mask=mask, position_ids=places, past_key_values=cache, use_cache=True
        )
        layers = found.past_key_values.layers
        return (found.logits, *(each for layer in layers for each in (layer.keys, layer.values)))


class Whole(nn.Module):  # type: ignore[misc]
    """The logits of a whole text."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, ids: torch.Tensor, mask: torch.Tensor, places: torch.Tensor) -> torch.Tensor:
        found = self.model(input_ids=ids, attention_mask=mask, position_ids=places, use_cache=False)
        logits: torch.Tensor = found.logits
        return logits


def gpt2_small() -> nn.Module:
    config = GPT2Config(use_cache=False, bos_token_id=0, eos_token_id=0)
    config._attn_implementation = "eager"
    model: nn.Module = GPT2LMHeadModel(config)
    return model


def export(name: str, path: Path, *, cached: bool = True, opset: int = 17, seed: int = 0) -> Path:
    """Write the decoder ``name``, with past if ``cached``, as ONNX, batch, tokens and rows open."""
    torch.manual_seed(seed)
    model = (gpt2_small() if name == SMALL else ALL[name].build("eager")).eval()
    widen(model, seed)
    shape = model.config
    heads = getattr(shape, "num_key_value_heads", shape.num_attention_heads)
    width = shape.hidden_size // shape.num_attention_heads
    caches = (
        [f"{i}.{kind}" for i in range(shape.num_hidden_layers) for kind in ("key", "value")] if cached else []
    )
    rows = PAST if cached else 0
    tokens = ("input_ids", "attention_mask", "position_ids")
    past = [f"past_key_values.{each}" for each in caches]
    args = (
        torch.ones(1, NEW, dtype=torch.int64),
        torch.ones(1, rows + NEW, dtype=torch.int64),
        torch.arange(rows, rows + NEW)[None],
        *(torch.randn(1, heads, PAST, width) for _ in caches),
    )
    counted = {"input_ids": "sequence_length", "position_ids": "sequence_length"}
    counted["attention_mask"] = f"{'past_sequence_length + ' if cached else ''}sequence_length"
    sizes = {each: {0: "batch_size", 1: axis} for each, axis in counted.items()}
    sizes |= {each: {0: "batch_size", 2: "past_sequence_length"} for each in past}
    with quiet(), torch.no_grad():
        torch.onnx.export(
            (WithPast if cached else Whole)(model).eval(),
            args,
            str(path),
            input_names=[*tokens, *past],
            output_names=["logits", *(f"present.{each}" for each in caches)],
            opset_version=opset,
            dynamic_axes=sizes,
            dynamo=False,
        )
    return path


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("name", choices=DECODERS)
    parser.add_argument("output", type=Path)
    parser.add_argument("--without", action="store_true", help="for whole texts, without caches")
    given = parser.parse_args()
    export(given.name, given.output, cached=not given.without)
