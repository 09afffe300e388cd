"""What several rooms of tests share: the hand-made plan, the example models, and a small compiled one."""

from __future__ import annotations

import faulthandler
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE.parent), str(HERE / "tools")]

if TYPE_CHECKING:
    from decoder import Decoder
    from small import Small

os.environ.setdefault("PPC_RATES", "reference")
"""Predictions in tests are those of the reference machine, and no command measures this one first."""

LONG = ("e2e", "fuzz", "models")
"""Rooms whose tests are all marked `long`."""


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Slow tests take minutes; they run with ``-m slow`` or PPC_SLOW=1."""
    asked = "slow" in (config.option.markexpr or "") or os.environ.get("PPC_SLOW")
    for item in items:
        if item.path.relative_to(HERE).parts[0] in LONG:
            item.add_marker(pytest.mark.long)
        if item.get_closest_marker("slow"):
            item.add_marker(pytest.mark.timeout(3600))
            if not asked:
                item.add_marker(pytest.mark.skip(reason="slow; run with -m slow"))


def pytest_unconfigure() -> None:
    """A thread that a failed test left waiting keeps the interpreter no longer than this, and is shown.
    A worker of pytest-xdist, done before the others, waits for them and is ended by who began it."""
    if "PYTEST_XDIST_WORKER" not in os.environ:
        faulthandler.dump_traceback_later(30, exit=True)


@pytest.fixture(scope="session")
def small(tmp_path_factory: pytest.TempPathFactory) -> Small:
    import onnx
    from small import SMALL, TOKENS, Small

    import ppc
    from models.tiny_bert import tiny_bert

    model = tmp_path_factory.mktemp("small") / "small.onnx"
    onnx.save(tiny_bert(SMALL), model)
    return Small(model, ppc.compile(model, seq_len=TOKENS))


@pytest.fixture(scope="session")
def decoder(tmp_path_factory: pytest.TempPathFactory) -> Decoder:
    import onnx
    from decoder import MOST, PROMPTS, TOGETHER, Decoder

    import ppc
    from models.llama import small

    model = tmp_path_factory.mktemp("decoder") / "decoder.onnx"
    onnx.save(small(), model)
    with pytest.MonkeyPatch.context() as patch:  # so that a text takes more than one lot
        patch.setattr("ppc.backend.generation.TOGETHER", TOGETHER)
        return Decoder(model, ppc.compile_generation(model, prompts=PROMPTS, most=MOST))
