"""all-MiniLM-L6-v2 as ONNX: BERT of 6 layers of 384, mean pooling, its sum of squares made 1.

Its weights are a safetensors file in the package index (`models/requirements.txt`), written here into the
nodes of `models/tiny_bert.py`.

    python models/minilm.py all-MiniLM-L6-v2.onnx
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import onnx
from safetensors.numpy import load_file

sys.path.append(str(Path(__file__).parent))

from packaged import MINILM_L6, packaged
from sentence import OUTPUT, Trained, sentence_model
from tiny_bert import INPUTS, Shape

SHAPE = Shape(layers=6, width=384, heads=12, vocabulary=30522, positions=512)

NAMES = {
    "layer.": "encoder.layer.",
    "words": "embeddings.word_embeddings.weight",
    "types": "embeddings.token_type_embeddings.weight",
    "places": "embeddings.position_embeddings.weight",
    "embeddings/norm": "embeddings.LayerNorm",
    "attention/output": "attention.output.dense",
    "attention/": "attention.self.",
    "norm1": "attention.output.LayerNorm",
    "norm2": "output.LayerNorm",
    "up": "intermediate.dense",
    "down": "output.dense",
    ".gamma": ".weight",
    ".beta": ".bias",
}


def minilm_l6() -> onnx.ModelProto:
    """Inputs of (batch, sequence) ids, a mask and types; `OUTPUT` of (batch, 384), of norm 1."""
    make = Trained(SHAPE, tensors=load_file(packaged(MINILM_L6)), names=NAMES)
    return sentence_model(make, "all-MiniLM-L6-v2", INPUTS)


__all__ = ["OUTPUT", "SHAPE", "minilm_l6"]

if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("output", type=Path)
    args = parser.parse_args()
    onnx.save(minilm_l6(), args.output)
    print(f"{args.output}: try  ppc compile {args.output} -o plan.bin --seq-len 64")
