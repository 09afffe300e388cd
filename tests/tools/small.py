"""The small model that is compiled once for all tests."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from models.tiny_bert import Shape
from ppc.backend.compile import Compiled

ROOT = Path(__file__).parent.parent.parent
SMALL = Shape(layers=1, width=16)
TOKENS = 8


@dataclass(frozen=True)
class Small:
    """The model file, named small.onnx, and what it compiles to for `TOKENS` tokens."""

    model: Path
    compiled: Compiled
