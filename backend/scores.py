"""Numbers that answers are judged by: rates with their intervals, thresholds, rank correlation, errors."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import TypedDict

import numpy as np
from numpy.typing import NDArray

from ppc.runtime.base.classes import NONE

Floats = NDArray[np.float64]

NORMAL_95 = 1.959964
"""The quantile of the normal distribution that leaves 2.5 % above."""


class Rated(TypedDict):
    """A rate in JSON, with the ends of its interval."""

    value: float
    low: float
    high: float
    hits: int
    of: int


@dataclass(frozen=True)
class Rate:
    """``hits`` of ``of``; the 95 % interval is Wilson's (1927), which holds near 0 and 1 and for few."""

    hits: int
    of: int

    @staticmethod
    def same(a: Sequence[int], b: Sequence[int]) -> Rate:
        """At how many places two rows agree."""
        return Rate(sum(x == y for x, y in zip(a, b, strict=True)), len(a))

    @property
    def value(self) -> float:
        return self.hits / self.of if self.of else math.nan

    @property
    def interval(self) -> tuple[float, float]:
        if not self.of:
            return 0.0, 1.0
        z = NORMAL_95**2 / self.of
        middle = (self.value + z / 2) / (1 + z)
        half = math.sqrt(z * self.value * (1 - self.value) + z * z / 4) / (1 + z)
        return max(0.0, middle - half), min(1.0, middle + half)

    def document(self) -> Rated:
        low, high = self.interval
        return {"value": self.value, "low": low, "high": high, "hits": self.hits, "of": self.of}


def alike(a: Iterable[Sequence[int]], b: Iterable[Sequence[int]]) -> Rate:
    """At how many places the rows of two agree."""
    return Rate.same(*(list(chain.from_iterable(each)) for each in (a, b)))


def right(said: Iterable[Sequence[int]], wanted: Iterable[NDArray[np.int64]]) -> Rate:
    """How many of the places that have a class were told it."""
    pairs = [
        (x, y) for row, classes in zip(said, wanted, strict=True) for x, y in zip(row, classes, strict=False)
    ]
    kept = [(x, int(y)) for x, y in pairs if y != NONE]
    return Rate(sum(x == y for x, y in kept), len(kept))


@dataclass
class Moments:
    """Of numbers that come in parts: how large they are, and how far they lie about their mean."""

    count: int = 0
    total: float = 0.0
    squares: float = 0.0
    most: float = 0.0

    def add(self, x: Floats) -> None:
        self.count += x.size
        self.total += float(x.sum())
        self.squares += float(np.square(x).sum())
        self.most = max(self.most, float(np.abs(x).max(initial=0.0)))

    @property
    def rms(self) -> float:
        return math.sqrt(self.squares / self.count) if self.count else 0.0

    @property
    def spread(self) -> float:
        """The standard deviation."""
        return math.sqrt(max(0.0, self.rms**2 - (self.total / self.count) ** 2)) if self.count else 0.0


def cosines(a: Floats, b: Floats) -> Floats:
    """Of the rows of two matrices (n, width); 0 where a row is."""
    norms = np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)
    return np.asarray((a * b).sum(axis=1) / np.where(norms > 0, norms, 1.0))


def best_threshold(similarity: Floats, labels: Sequence[int]) -> float:
    """From where on up to call a pair alike, for most labels (1 for alike) to be right; halfway between two
    similarities that there are, the lowest of several."""
    order = np.argsort(similarity)
    ranked, alike = similarity[order], np.asarray(labels)[order]
    right = np.concatenate([[0], np.cumsum(1 - alike)]) + np.concatenate([np.cumsum(alike[::-1])[::-1], [0]])
    between = np.concatenate([[True], ranked[1:] > ranked[:-1], [True]])  # equal ones cannot be told apart
    at = int(np.argmax(np.where(between, right, -1)))
    below = ranked[at - 1] if at else -1.0
    above = ranked[at] if at < len(ranked) else 1.0
    return float((below + above) / 2)


def rank_correlation(a: Floats, b: Floats) -> float | None:
    """Spearman's: the correlation of ranks, of equal numbers their mean; None where one has no order."""
    ranks = np.stack([_ranks(a), _ranks(b)])
    if len(a) < 2 or not np.ptp(ranks, axis=1).all():
        return None
    return float(np.asarray(np.corrcoef(ranks))[0, 1])


def _ranks(x: Floats) -> Floats:
    _, at, counts = np.unique(x, return_inverse=True, return_counts=True)
    ends = np.cumsum(counts)
    means: Floats = np.asarray(ends - (counts - 1) / 2, np.float64)
    return means[at.ravel()]
