"""Each measure against its formula, on answers that are known."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch")

from text_model import word_tokenizer
from tunable import CLASSES, ROWS, TOKENS, classifier, decoder, examples

from ppc.backend.scores import Rate
from ppc.backend.task import Task
from ppc.backend.tune import judge as module
from ppc.backend.tune.judge import Judge, Texts
from ppc.passes.train.examples import Examples
from ppc.runtime.base.classes import NONE
from ppc.runtime.service.dataset import DataSet, inputs_of
from ppc.runtime.service.tokens import Encoder

SAID = Task("classes", "logits", CLASSES, False)


def texts(examples: Examples) -> Texts:
    tokens = np.full(len(examples), TOKENS) if examples.tokens is None else examples.tokens
    return Texts(replace(examples, tokens=tokens), module._next(len(examples)))


def test_accuracy_and_agreement() -> None:
    teacher, other = classifier(), classifier(seed=1)
    data = examples(teacher, 40)
    judge = Judge(teacher, SAID, texts(data))
    found = judge(other)
    a, b = (module.answers(graph, data)["logits"].argmax(-1)[:, 0] for graph in (teacher, other))
    assert found.agreement == Rate(int((a == b).sum()), 40)
    assert found.accuracy == Rate(int((b == data.labels).sum()), 40)
    assert judge.teacher.agreement == Rate(40, 40)
    assert judge.teacher == judge(teacher)
    assert found.score == found.accuracy.value
    assert found.likeness == found.agreement.value < 1


def test_tokens_with_labels_count_and_others_do_not() -> None:
    """The accuracy is of tokens that have a label, the agreement of all that are no padding."""
    teacher, other = decoder(), decoder(seed=1)
    counts = np.array([2, 3, 6])
    labels = np.full((3, TOKENS), NONE)
    data = replace(examples(teacher, 3), labels=labels, tokens=counts)
    a, b = (module.answers(graph, data)["logits"].argmax(-1)[:, 0] for graph in (teacher, other))
    labels[0, 1], labels[1, 0], labels[2, 5] = b[0, 1], b[1, 0], (b[2, 5] + 1) % ROWS
    found = Judge(teacher, Task("token classes", "logits", ROWS, False), texts(data))(other)
    assert found.accuracy == Rate(2, 3)
    counted = np.arange(TOKENS) < counts[:, None]
    assert found.agreement == Rate(int((a == b)[counted].sum()), 11)


def test_labels_of_words_lie_at_their_tokens(tmp_path: Path) -> None:
    word_tokenizer(tmp_path / "tokenizer.json", 5)
    encoder = Encoder(tmp_path / "tokenizer.json", inputs_of(["input_ids"], TOKENS))
    data = DataSet(Path("d"), (2, 3), ("w1 w2", "w3"), names=("a", "b"), words=((1, 0), (1,)))
    found = Texts.of(data, Task("token classes", "logits", 2, False), encoder, truncate=False).examples
    assert found.labels.tolist() == [[1, 0, *[NONE] * 4], [1, *[NONE] * 5]]
    assert found.tokens.tolist() == [2, 1]


def test_without_labels_likeness_is_the_score() -> None:
    graph = classifier()
    data = replace(examples(graph, 8), labels=None)
    found = Judge(graph, SAID, texts(data))(graph)
    assert found.accuracy is None
    assert found.score == 1


def test_vectors_by_their_directions_and_the_order_of_similarities() -> None:
    teacher, other = classifier(), classifier(seed=1)
    data = examples(teacher, 10)
    judge = Judge(teacher, Task("embeddings", "logits", CLASSES, False), texts(data))
    assert judge.teacher.likeness == pytest.approx(1)
    assert judge.teacher.ranks == pytest.approx(1)
    a, b = (module.answers(graph, data)["logits"][:, 0].astype(float) for graph in (teacher, other))
    cosines = (a * b).sum(axis=1) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1)
    assert judge(other).cosine == pytest.approx(cosines.mean())
    assert judge(other).ranks < 1


def test_a_next_token_is_that_behind_the_last() -> None:
    graph = decoder()
    data = replace(examples(graph, 6), labels=None, tokens=np.array([2, 3, 4, 5, 6, 6]))
    rows = Judge(graph, Task("next token", "logits", ROWS, False), texts(data))._rows(graph)
    values = module.answers(graph, data)["logits"]
    for row, value, tokens in zip(rows, values, data.tokens, strict=True):
        np.testing.assert_array_equal(row, value[:, tokens - 1].astype(np.float64))


def test_some_of_the_texts(tmp_path: Path) -> None:
    data = texts(examples(classifier(), 5))
    some = data.at(np.array([3, 1]))
    assert some.examples.labels.tolist() == data.examples.labels[[3, 1]].tolist()
    assert some.pairs.tolist() == [[0, 1], [1, 0]]
