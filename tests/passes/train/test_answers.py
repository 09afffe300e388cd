from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("torch")

from tunable import classifier, examples

from ppc.frontend.ir.reference import evaluate
from ppc.passes.train import answers as module
from ppc.passes.train.answers import answers


def test_of_all_batches_in_their_order(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_BATCH", 3)
    graph = classifier()
    data = examples(graph, 7)
    found = answers(graph, data)["logits"]
    assert found.dtype == np.float32
    wanted = [evaluate(graph, {name: x[i] for name, x in data.feeds.items()})["logits"] for i in range(7)]
    np.testing.assert_allclose(found, np.stack(wanted), rtol=1e-4, atol=1e-5)
