from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

pytest.importorskip("torch")

from tunable import classifier, examples

from ppc.passes.train.answers import answers
from ppc.passes.train.fit import fit
from ppc.passes.train.optimise import Options


@pytest.mark.long
@pytest.mark.parametrize("half", [False, True])
def test_labels_are_learnt(half: bool) -> None:
    graph = classifier()
    data, held, unseen = examples(graph, 256), examples(graph, 16, seed=2), examples(graph, 64, seed=7)
    trained = fit(graph, data, held, Options(steps=100, rate=1e-2, half=half))
    right = [
        np.mean(answers(g, unseen)["logits"].argmax(-1)[:, 0] == unseen.labels) for g in (graph, trained)
    ]
    assert right[0] < 0.6
    assert right[1] > 0.75


def test_there_must_be_labels() -> None:
    graph = classifier()
    data = examples(graph, 8)
    with pytest.raises(ValueError, match="need labels"):
        fit(graph, replace(data, labels=None), data)
