from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

pytest.importorskip("torch")

from tunable import classifier, examples

from ppc.passes.train.answers import answers
from ppc.passes.train.fit import fit
from ppc.passes.train.optimise import Options
from ppc.passes.train.trainable import Trainable


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


def test_labels_are_learnt_of_short_texts_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """As well, where batches of them are computed at their own length."""
    seen: list[int] = []

    class Watched(Trainable):
        def __call__(self, feeds, wanted):  # type: ignore[no-untyped-def]
            seen.append(feeds["input_ids"].shape[-1])
            return super().__call__(feeds, wanted)

    monkeypatch.setattr("ppc.passes.train.fit.Trainable", Watched)
    graph = classifier()
    data = examples(graph, 256)
    data = replace(data, tokens=data.mask.sum(axis=(1, 2)))
    held = data.at(np.arange(16))
    shorter = {n: classifier(tokens=n) for n in (2, 4)}
    fit(graph, data, held, Options(steps=16, batch=16, rate=1e-3), shorter=shorter)
    assert set(seen) == {2, 4, 6}
    assert len(seen) == 16


def test_there_must_be_labels() -> None:
    graph = classifier()
    data = examples(graph, 8)
    with pytest.raises(ValueError, match="need labels"):
        fit(graph, replace(data, labels=None), data)
