"""What several rooms of tests share: the hand-made plan, the example models, and a small compiled one."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

import onnx
import pytest

ROOT = Path(__file__).parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "tests" / "tools"), str(ROOT / "tests" / "runtime")]

import ppc  # noqa: E402
from models.tiny_bert import Shape, tiny_bert  # noqa: E402
from ppc.backend.compile import Compiled  # noqa: E402

SMALL = Shape(layers=1, width=16)
TOKENS = 8


@dataclass(frozen=True)
class Small:
    """The model file and what it compiles to for `TOKENS` tokens."""

    model: Path
    compiled: Compiled


@pytest.fixture(scope="session")
def small(tmp_path_factory) -> Small:
    model = tmp_path_factory.mktemp("small") / "small.onnx"
    onnx.save(tiny_bert(SMALL), model)
    return Small(model, ppc.compile(model, seq_len=TOKENS))
