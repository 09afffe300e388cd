"""That weights go downhill, at a rate that is found, and on from where they were."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from tunable import classifier, examples  # noqa: E402

from ppc.frontend.ir.graph import Graph, walk  # noqa: E402
from ppc.frontend.ir.ops import Const  # noqa: E402
from ppc.passes.train import optimise as module  # noqa: E402
from ppc.passes.train.fit import fit  # noqa: E402
from ppc.passes.train.optimise import Diverged, Options, optimise  # noqa: E402
from ppc.passes.train.trainable import Trainable  # noqa: E402


def bits(graph: Graph) -> list[bytes]:
    return [op.value.tobytes() for op in walk(graph) if isinstance(op, Const)]


def stopping(at: int) -> Callable[[str, int, int], None]:
    def tell(what: str, done: int, total: int) -> None:
        if done == at and "rates" not in what:
            raise KeyboardInterrupt

    return tell


@pytest.mark.long
@pytest.mark.parametrize("rate", [None, 1e-3])
def test_an_interrupted_run_ends_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rate: float | None
) -> None:
    monkeypatch.setattr(module, "_KEEP", 5)
    graph = classifier()
    data, held = examples(graph), examples(graph, 8, seed=2)
    options = Options(steps=14, batch=8, rate=rate)
    whole = fit(graph, data, held, options)
    with pytest.raises(KeyboardInterrupt):
        fit(graph, data, held, options, work=tmp_path, tell=stopping(7))
    told: list[int] = []
    resumed = fit(graph, data, held, options, work=tmp_path, tell=lambda _, done, total: told.append(done))
    assert told[0] == 6
    assert bits(resumed) == bits(whole) != bits(graph)
    done: list[int] = []
    again = fit(graph, data, held, options, work=tmp_path, tell=lambda _, at, total: done.append(at))
    assert bits(again) == bits(whole)
    assert done == []


def test_another_run_begins_anew(tmp_path: Path) -> None:
    graph = classifier()
    data, held = examples(graph), examples(graph, 8, seed=2)
    for options in (Options(steps=2, rate=1e-3), Options(steps=2, rate=1e-3, seed=1)):
        fit(graph, data, held, options, work=tmp_path)
    fit(graph, data, held, Options(steps=2, rate=1e-3, half=True), work=tmp_path)
    fit(graph, examples(graph, seed=5), held, Options(steps=2, rate=1e-3), work=tmp_path)
    fit(classifier(seed=1), data, held, Options(steps=2, rate=1e-3), work=tmp_path)
    assert len(list(tmp_path.glob("*.safetensors"))) == 5
    assert not list(tmp_path.glob("*.part"))


def test_a_rate_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """The best on a parabola: neither too little to move, nor so much that it is thrown about."""
    graph = classifier()
    model = Trainable(graph)
    start = [x.detach().clone() for x in model.weights.values()]
    monkeypatch.setattr(module, "RATES", (1e-6, 1e-3, 1.0, 1e3))

    def loss(batch: object) -> torch.Tensor:
        return torch.stack(
            [((x - y - 0.01) ** 2).mean() for x, y in zip(model.weights.values(), start, strict=True)]
        ).sum()

    data = examples(graph, 8)
    assert optimise(model, loss, data, data, Options(steps=20), graphs=(graph,)) == 1e-3


def test_no_number_is_told() -> None:
    graph = classifier()
    model = Trainable(graph)
    data = examples(graph, 8)

    def loss(batch: object) -> torch.Tensor:
        return sum(x.sum() for x in model.weights.values()) * np.nan

    with pytest.raises(
        Diverged,
        match=r"nan at step 3 of 3, and was no number at the 2 before, learning rate 0\.001; give a smaller",
    ):
        optimise(model, loss, data, data, Options(steps=3, rate=1e-3), graphs=(graph,), what="tuning")


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_batch_without_a_number_is_passed_over(bad: float) -> None:
    """The others move the weights, and it does not."""
    graph = classifier()
    data = examples(graph, 8)

    def trained(at: int | None) -> list[torch.Tensor]:
        model, seen = Trainable(graph), itertools.count()

        def loss(batch: object) -> torch.Tensor:
            factor = bad if next(seen) == at else 1.0
            return torch.stack([(x**2).mean() for x in model.weights.values()]).sum() * factor

        optimise(model, loss, data, data, Options(steps=4, rate=1e-3), graphs=(graph,))
        return list(model.weights.values())

    some, every = trained(1), trained(None)
    assert all(x.isfinite().all() for x in some)
    assert any((x != y).any() for x, y in zip(some, every, strict=True))


def test_a_rate_is_found_beside_batches_without_a_number() -> None:
    graph = classifier()
    model, seen = Trainable(graph), itertools.count()
    start = [x.detach().clone() for x in model.weights.values()]

    def loss(batch: object) -> torch.Tensor:
        factor = np.nan if next(seen) % 5 == 0 else 1.0
        return (
            factor
            * torch.stack(
                [((x - y - 0.01) ** 2).mean() for x, y in zip(model.weights.values(), start, strict=True)]
            ).sum()
        )

    data, held = examples(graph, 8), examples(graph, 24)
    assert optimise(model, loss, data, held, Options(steps=20, batch=8), graphs=(graph,)) == 1e-3
