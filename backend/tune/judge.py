"""How near a graph's answers come to its teacher's, and to labels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ppc.backend.scores import Rate, alike, cosines, rank_correlation, right
from ppc.backend.task import Task
from ppc.frontend.ir.graph import Graph
from ppc.passes.train.answers import answers
from ppc.passes.train.examples import Examples
from ppc.runtime.base.classes import NONE
from ppc.runtime.service.dataset import DataSet
from ppc.runtime.service.tokens import Encoder

Rows = list[NDArray[Any]]


@dataclass(frozen=True, repr=False)
class Texts:
    """A data set as ``examples``; ``pairs``: which two embeddings are compared, of pairs of texts each with
    its own, of others each with the next."""

    examples: Examples
    pairs: NDArray[np.int64]

    @staticmethod
    def of(data: DataSet, task: Task, encoder: Encoder, truncate: bool) -> Texts:
        """Labels count where the answer is a class. Raises BadInput for what does not fit, by its line."""
        texts = data.apart() if task.kind == "embeddings" else data
        encoded = texts.encoded(encoder, truncate=truncate)
        tokens = [len(each.ids) for each in encoded]
        labels = None
        if task.labelled and data.labelled:
            data.check_classes(task.choices)
            labels = _labels(data.wanted(encoded) or [], encoder.held if data.words else 1)
        examples = Examples.of(encoder.feeds(encoded, alike=False), labels, tokens)
        first = np.arange(len(data))
        apart = len(texts) > len(data)
        return Texts(examples, np.stack([first, first + len(data)], axis=1) if apart else _next(len(data)))

    def at(self, places: NDArray[np.int64]) -> Texts:
        """Some of them, each beside the next."""
        return Texts(self.examples.at(places), _next(len(places)))

    def with_unlabelled(self, more: Texts) -> Texts:
        return Texts(self.examples.with_unlabelled(more.examples), _next(len(self) + len(more)))

    def __len__(self) -> int:
        return len(self.examples)


def _labels(wanted: Sequence[NDArray[np.int64]], length: int) -> NDArray[np.int64]:
    """(rows,), or (rows, length) of tokens, padding having none."""
    found = np.full((len(wanted), length), NONE)
    for row, classes in zip(found, wanted, strict=True):
        row[: len(classes)] = classes
    return found[:, 0] if length == 1 else found


def _next(count: int) -> NDArray[np.int64]:
    first = np.arange(count)
    return np.stack([first, np.roll(first, -1)], axis=1)


@dataclass(frozen=True)
class Verdict:
    """``agreement`` with the teacher in classes or tokens, or ``cosine`` of vectors to the teacher's and
    ``ranks``, the correlation of ranks of similarities; ``accuracy`` where there are labels."""

    accuracy: Rate | None = None
    agreement: Rate | None = None
    cosine: float | None = None
    ranks: float | None = None

    @property
    def likeness(self) -> float:
        """To the teacher, 1 at most."""
        if self.agreement is not None:
            return self.agreement.value
        assert self.cosine is not None
        return self.cosine

    @property
    def score(self) -> float:
        """What a budget is of: accuracy, or likeness where nobody knows better."""
        return self.likeness if self.accuracy is None else self.accuracy.value

    def document(self) -> dict[str, object]:
        rates = {"accuracy": self.accuracy, "agreement": self.agreement}
        known = {name: rate.document() for name, rate in rates.items() if rate is not None}
        numbers = {"cosine": self.cosine, "rank_correlation": self.ranks}
        return known | {name: value for name, value in numbers.items() if value is not None}


class Judge:
    """Over ``texts``, which the teacher has answered."""

    def __init__(self, teacher: Graph, task: Task, texts: Texts) -> None:
        self._task, self._texts = task, texts
        self._theirs = self._rows(teacher)
        self.teacher = self._verdict(self._theirs)

    def __call__(self, graph: Graph) -> Verdict:
        return self._verdict(self._rows(graph))

    def _verdict(self, rows: Rows) -> Verdict:
        if self._task.kind == "embeddings":
            return Verdict(
                cosine=float(cosines(np.concatenate(rows), np.concatenate(self._theirs)).mean()),
                ranks=rank_correlation(self._similarities(rows), self._similarities(self._theirs)),
            )
        said, theirs = ([self._task.said(row) for row in each] for each in (rows, self._theirs))
        labels = self._texts.examples.labels
        accuracy = None if labels is None else right(said, labels.reshape(len(labels), -1))
        return Verdict(accuracy, alike(said, theirs))

    def _rows(self, graph: Graph) -> Rows:
        values = answers(graph, self._texts.examples)[self._task.output]
        tokens = self._texts.examples.tokens
        assert tokens is not None
        both = zip(values, tokens.tolist(), strict=True)
        return [self._task.answer(value, count).astype(np.float64) for value, count in both]

    def _similarities(self, rows: Rows) -> NDArray[np.float64]:
        vectors = np.concatenate(rows)
        return cosines(vectors[self._texts.pairs[:, 0]], vectors[self._texts.pairs[:, 1]])
