"""Each loss against its formula, and that padding is not in it."""

from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from scipy.special import log_softmax  # noqa: E402
from tunable import classifier, decoder, examples  # noqa: E402

from ppc.passes.train import losses  # noqa: E402

RNG = np.random.default_rng(0)
X, Y = RNG.normal(size=(5, 3)), RNG.normal(size=(5, 3))
ROWS = [torch.tensor(each) for each in (X, Y)]


def test_soft_labels_are_a_divergence() -> None:
    p, q = log_softmax(Y, axis=-1), log_softmax(X, axis=-1)
    assert float(losses.soft_labels(*ROWS)) == pytest.approx((np.exp(p) * (p - q)).sum(axis=-1).mean())
    assert float(losses.soft_labels(ROWS[0], ROWS[0])) == 0


def test_one_logit_is_one_of_two() -> None:
    one, both = [x[:, :1] for x in ROWS], [x[:, :2] * torch.tensor([1, 0]) for x in ROWS]
    assert float(losses.soft_labels(*one)) == pytest.approx(float(losses.soft_labels(*both)))


def test_differences_are_in_units_of_the_variance() -> None:
    wanted = np.mean((X - Y) ** 2) / np.mean(np.var(Y, axis=0))
    assert float(losses.relative(*ROWS)) == pytest.approx(wanted)
    assert float(losses.relative(ROWS[0] * 7 + 1, ROWS[1] * 7 + 1)) == pytest.approx(wanted)


def test_directions() -> None:
    assert float(losses.directions(ROWS[0], 3 * ROWS[0])) == pytest.approx(0)
    assert float(losses.directions(ROWS[0], -ROWS[0])) == pytest.approx(2)


def test_what_is_out_of_range() -> None:
    x = torch.tensor([[1.0, -2.0, 4.0]])
    assert float(losses.beyond(x, 2.0)) == pytest.approx(1 / 3)
    assert float(losses.beyond(x, 4.0)) == 0


@pytest.mark.parametrize("shape", [(4, 1, 6, 3), (4, 1, 2, 6, 3)])
def test_padding_does_not_count(shape: tuple[int, ...]) -> None:
    graph = classifier()
    data = examples(graph, 4)
    mask = data.on(torch.device("cpu")).mask
    value = RNG.normal(size=shape)
    kept = [value[i, 0, ..., data.feeds["attention_mask"][i, 0] == 1, :] for i in range(4)]
    count = sum(each.size for each in kept)
    found = losses.counted(torch.tensor(value), mask)
    assert count == found.numel() < value.size
    assert float(found.sum()) == pytest.approx(sum(each.sum() for each in kept))


def test_whole_prompts_and_models_without_a_mask_count_everywhere() -> None:
    graph = decoder()
    assert examples(graph, 2).mask is None
    assert losses.counted(torch.zeros(2, 1, 6, 3), None).shape == (12, 3)
    assert losses.counted(torch.zeros(2, 1, 3), torch.zeros(2, 1, 6, dtype=torch.bool)).shape == (2, 3)


def test_labels_of_prompts_and_of_tokens() -> None:
    logits, labels = torch.tensor(X), torch.tensor([0, 2, 1, 1, 0])
    wanted = -log_softmax(X, axis=-1)[range(5), labels].mean()
    assert float(losses.hard_labels(logits[:, None], labels)) == pytest.approx(wanted)
    some = torch.tensor([[0, 2, 1, -100, -100]])
    part = -log_softmax(X, axis=-1)[range(3), some[0, :3]].mean()
    assert float(losses.hard_labels(logits[None, None], some)) == pytest.approx(part)
    assert float(losses.hard_labels(logits, torch.full((5,), -100))) == 0
