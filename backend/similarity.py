"""Embeddings beside one another: their cosines, and who calls which pairs alike."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ppc.backend.scores import best_threshold, cosines, rank_correlation
from ppc.backend.task import FLOAT, SIMULATED, Said
from ppc.runtime.service.dataset import DataSet

Row = NDArray[Any]


@dataclass(frozen=True)
class Similarity:
    """Of embeddings.

    Attributes:
        cosine: of each vector to float's, the mean and the worst.
        correlation: Spearman's, of the pairs' similarities to float's.
        threshold: the cosine from which on up a pair is called alike: that by which ``judge`` is right most
            often on these very labels, which flatters him and is the same for all.
    """

    cosine: tuple[float, float] | None = None
    correlation: float | None = None
    threshold: float | None = None
    judge: str | None = None


def similar(data: DataSet, vectors: Mapping[str, Mapping[int, Row]]) -> tuple[Similarity, Said]:
    """How embeddings compare, and who calls which of the labelled pairs alike."""
    said: Said = {who: {} for who in vectors}
    cosine = correlation = threshold = judge = None
    if vectors[FLOAT]:
        held = [_stacked(vectors[who], vectors[FLOAT]) for who in (SIMULATED, FLOAT)]
        found = cosines(*held)
        cosine = (float(found.mean()), float(found.min()))
    if data.pairs is not None:
        alike = {who: _alike(rows, len(data)) for who, rows in vectors.items()}
        if alike[FLOAT]:
            ranked = [np.array([alike[who][i] for i in alike[FLOAT]]) for who in (SIMULATED, FLOAT)]
            correlation = rank_correlation(*ranked)
        judge = FLOAT if alike[FLOAT] else SIMULATED
        if data.labels is not None and alike[judge]:
            labels = [data.labels[i] for i in alike[judge]]
            threshold = best_threshold(np.array(list(alike[judge].values())), labels)
            said = {who: {i: (int(x >= threshold),) for i, x in each.items()} for who, each in alike.items()}
    return Similarity(cosine, correlation, threshold, judge if threshold is not None else None), said


def _alike(rows: Mapping[int, Row], count: int) -> dict[int, float]:
    """The cosine of each pair, whose halves are ``count`` prompts apart, where both are there."""
    paired = [i for i in rows if i + count in rows]
    if not paired:
        return {}
    found = cosines(_stacked(rows, paired), _stacked(rows, [i + count for i in paired]))
    return dict(zip(paired, found.tolist(), strict=True))


def _stacked(rows: Mapping[int, Row], places: Iterable[int]) -> NDArray[np.float64]:
    return np.concatenate([np.asarray(rows[i], np.float64) for i in places])
