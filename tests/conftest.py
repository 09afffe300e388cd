"""What several rooms of tests share: the hand-made plan, the example models, and a small compiled one."""

from __future__ import annotations

import sys
from pathlib import Path

import onnx
import pytest

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE.parent), str(HERE / "tools")]

from small import SMALL, TOKENS, Small  # noqa: E402

import ppc  # noqa: E402
from models.tiny_bert import tiny_bert  # noqa: E402


@pytest.fixture(scope="session")
def small(tmp_path_factory: pytest.TempPathFactory) -> Small:
    model = tmp_path_factory.mktemp("small") / "small.onnx"
    onnx.save(tiny_bert(SMALL), model)
    return Small(model, ppc.compile(model, seq_len=TOKENS))
