from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("torch")

from ppc.passes.train.examples import Examples, places


def test_an_epoch_has_each_sample_once() -> None:
    row = np.concatenate([places(10, 4, step, seed=3) for step in range(5)])
    assert sorted(row[:10]) == sorted(row[10:]) == list(range(10))
    assert not np.array_equal(row[:10], row[10:])
    assert not np.array_equal(row[:4], places(10, 4, 0, seed=4))


def test_a_batch_larger_than_the_data() -> None:
    assert np.bincount(places(3, 7, 0, seed=0)).tolist() in ([2, 2, 3], [2, 3, 2], [3, 2, 2])


def test_batches_of_texts_of_like_length() -> None:
    """Each sample as often as without, in batches that differ less, in no order."""
    tokens = np.random.default_rng(0).integers(1, 100, 64)
    row = [places(64, 4, step, 3, tokens) for step in range(32)]
    first = np.concatenate(row[:16])
    assert sorted(first) == sorted(np.concatenate(row[16:])) == list(range(64))
    assert max(np.ptp(tokens[each]) for each in row) < 30 < np.ptp(tokens)
    means = [tokens[each].mean() for each in row[:16]]
    assert means != sorted(means)
    assert not np.array_equal(first, np.concatenate(row[16:]))


def test_what_counts_is_before_the_padding() -> None:
    """By the number of tokens, of a model without a mask too; else by the mask."""
    ids = np.ones((2, 1, 3), np.int64)
    mask = np.array([[[1, 0, 0]], [[1, 1, 0]]])
    counted = Examples({"ids": ids, "x": np.zeros((2, 1))}, tokens=np.array([2, 3]))
    assert counted.mask.astype(int).tolist() == [[[1, 1, 0]], [[1, 1, 1]]]
    assert counted.at(np.array([1])).mask.tolist() == [[[True] * 3]]
    assert Examples({"ids": ids, "attention_mask": mask}).mask.tolist() == (mask == 1).tolist()
    assert Examples({"ids": ids}).mask is None


def test_a_split_leaves_nothing_out() -> None:
    data = Examples.of([{"x": np.array([i])} for i in range(9)], range(9))
    some, others = data.split(4, seed=0)
    assert (len(some), len(others)) == (4, 5)
    assert sorted([*some.labels, *others.labels]) == list(range(9))
    assert some.feeds["x"][:, 0].tolist() == some.labels.tolist()
