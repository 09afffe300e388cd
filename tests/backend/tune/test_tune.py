"""What is written is what was tuned."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch")

from tunable import CLASSES, TOKENS, classifier, examples, friendly

from ppc.backend.task import Task
from ppc.backend.tune import tune as module
from ppc.backend.tune.judge import Texts
from ppc.backend.tune.tune import NotTheStudent, write
from ppc.frontend.read.run import run

SAID = Task("classes", "logits", CLASSES, False)


def texts(count: int = 5) -> Texts:
    data = examples(classifier(), count)
    return Texts(replace(data, tokens=np.full(count, TOKENS)), np.zeros((count, 2), np.int64))


def test_a_file_that_onnx_runtime_answers_alike(tmp_path: Path) -> None:
    student = friendly(classifier())
    write(student, tmp_path / "a.onnx", texts(), SAID)
    feeds = {name: x[0] for name, x in texts().examples.feeds.items()}
    np.testing.assert_allclose(
        run(tmp_path / "a.onnx", feeds)["logits"],
        module.answers(student, texts().examples)["logits"][0],
        rtol=1e-3,
        atol=1e-5,
    )


def test_another_file_is_not_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save = module.save
    monkeypatch.setattr(module, "save", lambda graph, path: save(classifier(seed=1), path))
    with pytest.raises(NotTheStudent, match=r"a\.onnx: not written: ONNX Runtime is .* off what was tuned"):
        write(friendly(classifier()), tmp_path / "a.onnx", texts(), SAID)
    assert not (tmp_path / "a.onnx").exists()
