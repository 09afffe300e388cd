"""Rates, thresholds, correlations and moments, against SciPy or against their definitions."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from ppc.backend.scores import Moments, Rate, best_threshold, cosines, rank_correlation


@pytest.mark.parametrize(("hits", "of"), [(0, 1), (1, 1), (0, 20), (20, 20), (436, 872), (867, 872), (3, 7)])
def test_intervals_are_wilson_s(hits, of):
    wanted = stats.binomtest(hits, of).proportion_ci(0.95, method="wilson")
    assert Rate(hits, of).interval == pytest.approx((wanted.low, wanted.high), abs=1e-6)
    assert Rate(hits, of).value == hits / of


def test_nothing_tells_nothing():
    assert Rate(0, 0).interval == (0.0, 1.0)


def test_rows_agree_where_they_are_equal():
    assert Rate.same([1, 2, 3, 4], [1, 0, 3, 0]) == Rate(2, 4)


@pytest.mark.parametrize("seed", range(5))
def test_ranks_are_spearman_s(seed):
    rng = np.random.default_rng(seed)
    a, b = rng.integers(0, 6, 40).astype(float), rng.normal(size=40)
    b += 0.3 * a
    assert rank_correlation(a, b) == pytest.approx(stats.spearmanr(a, b).statistic)


@pytest.mark.parametrize("b", [np.ones(3), np.arange(3.0)[:1]])
def test_what_has_no_order_has_no_correlation(b):
    assert rank_correlation(np.arange(3.0)[: len(b)], b) is None


@pytest.mark.parametrize("seed", range(20))
def test_no_threshold_is_better(seed):
    rng = np.random.default_rng(seed)
    n = int(rng.integers(1, 12))
    similarity, labels = rng.integers(-2, 3, n) / 4, rng.integers(0, 2, n)

    def right(threshold: float) -> int:
        return int(((similarity >= threshold) == labels).sum())

    found = best_threshold(similarity, labels.tolist())
    assert right(found) == max(right(each) for each in np.linspace(-1.05, 1.05, 43))


def test_cosines_of_rows():
    a, b = np.array([[1.0, 0.0], [3.0, 4.0], [0.0, 0.0]]), np.array([[1.0, 1.0], [3.0, 4.0], [1.0, 2.0]])
    assert cosines(a, b) == pytest.approx([np.sqrt(0.5), 1.0, 0.0])


def test_moments_of_parts_are_those_of_the_whole():
    x = np.random.default_rng(0).normal(3, 2, (7, 5))
    found = Moments()
    for part in (x[:2], x[2:2], x[2:]):
        found.add(part)
    assert found.rms == pytest.approx(np.sqrt(np.mean(x**2)))
    assert found.spread == pytest.approx(x.std())
    assert found.most == np.abs(x).max()
