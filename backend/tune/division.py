"""Which rows are for what: to train on, to choose a learning rate by, to decide by, and to judge at last."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ppc.backend.task import Task
from ppc.backend.tune.judge import Texts
from ppc.backend.tune.menu import Array
from ppc.frontend.ir.graph import Graph
from ppc.passes.draw_inputs import looked_up
from ppc.passes.train.examples import Examples
from ppc.runtime.base.errors import BadInput
from ppc.runtime.plan.file import Plan
from ppc.runtime.service.dataset import DataSet
from ppc.runtime.service.tokens import Encoder

log = logging.getLogger(__name__)

DECIDING, HOLDING = 2000, 256
"""Rows held out of the data, at most: a fifth for decisions, a tenth for the learning rate."""

FEWEST = 20
"""Rows that can be divided so."""

CALIBRATING = 32
"""Rows that show ranges, and that substitutions are fitted to."""


@dataclass(frozen=True, repr=False)
class Division:
    train: Texts
    held: Texts
    decide: Texts
    final: Texts

    @staticmethod
    def of(
        data: DataSet,
        valid: DataSet,
        plan: Plan,
        graph: Graph,
        task: Task,
        tokenizer: Path,
        truncate: bool,
        seed: int,
        decide: DataSet | None = None,
        mix: float = 0.0,
    ) -> Division:
        """``data`` divided by ``seed``, those of ``decide`` for decisions where given, and ``valid`` as
        ``final``. For each row to train on there are ``mix`` more that are `mixed`.

        Raises BadInput for data that do not fit the model or the task, and for too few.
        """
        encoder = Encoder(tokenizer, [each.inputs for each in plan.lengths])
        every = [data, valid] if decide is None else [data, valid, decide]
        texts, final, *apart = (Texts.of(each, task, encoder, truncate) for each in every)
        for name, rows in looked_up(graph).items():
            most = max(int(each.examples.feeds[name].max()) for each in (texts, final, *apart))
            if most >= rows:
                raise BadInput(
                    f"{tokenizer}: the id {most:,} for input {name!r}, whose table in the model has {rows:,} "
                    "rows: it is the tokenizer of another model"
                )
        if len(texts) < FEWEST:
            raise BadInput(f"{data.path}: {len(texts)} rows are too few to tune on; give {FEWEST} or more")
        order = np.random.default_rng(seed).permutation(len(texts))
        deciding = 0 if apart else min(DECIDING, len(texts) // 5)
        ends = [deciding, deciding + min(HOLDING, len(texts) // 10)]
        places = np.split(order, ends)
        judging, held, train = (texts.at(each) for each in places)
        if mix:
            own = (data.apart() if task.kind == "embeddings" else data).some(places[-1].tolist())
            more = mixed(own, train.examples, encoder.held, mix, seed)
            train = train.with_unlabelled(Texts.of(more, task, encoder, truncate=True))
        return Division(train, held, apart[0] if apart else judging, final)

    @property
    def samples(self) -> Sequence[dict[str, Array]]:
        """Inputs to calibrate on."""
        feeds = self.train.examples.feeds
        return [{name: x[i] for name, x in feeds.items()} for i in range(min(CALIBRATING, len(self.train)))]

    @property
    def counts(self) -> dict[str, int]:
        return {
            "train": len(self.train),
            "rate": len(self.held),
            "decide": len(self.decide),
            "valid": len(self.final),
        }


def mixed(data: DataSet, examples: Examples, length: int, times: float, seed: int) -> DataSet:
    """Texts that are made of two of ``data``'s, without labels, ``times`` as many. A teacher answers what
    nobody has written, and what it has not learned by heart.

    Texts that are no longer than ``length`` tokens together stand one behind the other. Of pairs a third are
    ones the other way round, a third have a text from each of two rows, and a third lack words: those are
    where a teacher that knows every row is in doubt.

    Raises BadInput where no two texts are short enough.
    """
    wanted, rng = max(1, round(times * len(data))), np.random.default_rng((seed, 1))
    if data.pairs is not None:
        both = np.array([data.texts, data.pairs], object)
        first, side = rng.integers(len(data), size=wanted), rng.integers(2, size=(2, wanted))
        second, kind = rng.integers(len(data), size=wanted), np.arange(wanted) % 3
        own, fewer = kind != 1, kind == 2
        second[own], side[:, own] = first[own], [[1], [0]]
        side[:, fewer] = [[0], [1]]
        two = both[side[0], first], both[side[1], second]
        for each in two:
            each[fewer] = [_fewer(text, rng) for text in each[fewer]]
        texts, pairs = tuple(two[0]), tuple(two[1])
    else:
        first, second = _short(examples, length, wanted, rng)
        if not len(first):
            raise BadInput(
                f"--mix {times:g}: no two texts of {data.path} fit into {length} tokens; try without it"
            )
        texts = tuple(f"{data.texts[a]} {data.texts[b]}" for a, b in zip(first, second, strict=True))
        pairs = None
    lines = tuple(data.lines[a] for a in first)
    return replace(data, lines=lines, texts=texts, pairs=pairs, labels=None, words=None)


def _short(examples: Examples, length: int, wanted: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """The places of two examples that have ``length`` tokens together at most, (2, ``wanted`` or fewer)."""
    tokens, found = examples.tokens, list[int]()
    assert tokens is not None
    for _ in range(_TRIES):
        two = rng.integers(len(examples), size=(wanted, 2))
        found += two[tokens[two].sum(axis=1) <= length].ravel().tolist()
        if len(found) >= 2 * wanted:
            break
    return np.array(found[: 2 * wanted], np.int64).reshape(-1, 2).T


def _fewer(text: str, rng: np.random.Generator) -> str:
    """The text without some of its words, one of them at least; one word stays."""
    words = text.split()
    if len(words) < 2:
        return text
    kept = rng.random(len(words)) >= _LACKING
    kept[rng.integers(len(words))] = False
    return " ".join(word for word, stays in zip(words, kept, strict=True) if stays) or words[0]


_LACKING = 0.15
"""Part of a text's words that are left out."""

_TRIES = 20
"""Draws of as many pairs as are wanted, of which the long ones are left out."""

_APART = {
    "--valid": "the final numbers are of texts that nothing was tuned on",
    "--decide": "what is replaced is decided by texts that nothing was tuned on",
}
"""Why an option's rows are kept out of others."""


def others(data: DataSet, valid: DataSet, option: str = "--valid", of: str = "--data") -> DataSet:
    """The rows of ``data`` that are not in ``valid``, by the options ``of`` and ``option``.

    Raises BadInput where none is left, where both are one file, and where one has columns that the other
    lacks.
    """
    if data.path.resolve() == valid.path.resolve():
        raise BadInput(f"{option} is {of}, {data.path}: {_APART[option]}")
    for what in ("labels", "words", "pairs"):
        has, lacks = (data, valid) if getattr(valid, what) is None else (valid, data)
        if getattr(has, what) is not None and getattr(lacks, what) is None:
            name = "a label for each word" if what == "words" else what
            raise BadInput(f"{has.path} has {name}, and {lacks.path} has none; both want the same columns")
    known = set(_rows(valid))
    kept = [i for i, row in enumerate(_rows(data)) if row not in known]
    if not kept:
        raise BadInput(f"all rows of {data.path} are in {valid.path} too; nothing is left to tune on")
    if len(kept) < len(data):
        log.info("%s rows of %s are in %s too, and left out", len(data) - len(kept), data.path, valid.path)
    return data.some(kept)


def _rows(data: DataSet) -> Sequence[tuple[str, ...]]:
    return list(zip(data.texts, data.pairs, strict=True)) if data.pairs else [(text,) for text in data.texts]
