"""What an output and a data set make together, and which row of an output is the answer."""

from __future__ import annotations

from pathlib import Path

import msgspec
import numpy as np
import pytest
from tiny import VOCABULARY, tiny_plan

from ppc.backend.task import Task
from ppc.runtime.base.errors import BadInput
from ppc.runtime.plan.file import InputSpec, OutputSpec, Plan
from ppc.runtime.plan.steps import Output
from ppc.runtime.service.dataset import DataSet

TOKENS = 4


def telling(shape: tuple[int, ...]) -> Plan:
    """Only the shape of the output and the table's rows matter here; one that tells numbers."""
    plan = tiny_plan()
    numbers = next(out for out in plan.outputs if plan.choices(out) is None)
    assert isinstance(plan.steps[numbers.value], Output)
    ids = InputSpec("input_ids", (1, TOKENS), "int", 0, VOCABULARY - 1)
    return msgspec.structs.replace(plan, inputs=(ids,), outputs=(OutputSpec("y", numbers.value, shape),))


def placing(shape: tuple[int, ...]) -> Plan:
    """One that tells places."""
    plan = tiny_plan()
    place = next(out for out in plan.outputs if plan.choices(out) is not None)
    return msgspec.structs.replace(plan, outputs=(OutputSpec("y", place.value, shape),))


def words(*labels: tuple[int, ...], classes: int) -> DataSet:
    texts = tuple(" ".join("a" for _ in each) for each in labels)
    names = tuple(map(str, range(classes)))
    return DataSet(Path("d.tsv"), tuple(range(2, 2 + len(texts))), texts, names=names, words=labels)


def named(classes: int) -> DataSet:
    return DataSet(Path("d.txt"), (1, 2), ("a", "a b"), names=tuple(map(str, range(classes))))


def data(labels: tuple[int, ...] | None, classes: int = 0, pairs: bool = False) -> DataSet:
    texts = tuple("a" for _ in labels or (0, 0))
    names = tuple(map(str, range(classes)))
    return DataSet(
        Path("d.tsv"), tuple(range(2, 2 + len(texts))), texts, texts if pairs else None, labels, names
    )


@pytest.mark.parametrize(
    ("shape", "given", "kind"),
    [
        ((1, 2), data((0, 1), 2), "classes"),
        ((1, 2), data((0, 1), 2, pairs=True), "classes"),
        ((3,), data((0, 1), 3), "classes"),
        ((1, 64), data((0, 1), 2, pairs=True), "embeddings"),
        ((1, 64), data(None), "embeddings"),
        ((1, 64), data(None, pairs=True), "embeddings"),
        ((1, TOKENS, VOCABULARY), data(None), "next token"),
        ((1, VOCABULARY), data(None), "next token"),
        ((1, TOKENS, 5), words((0, 1), (4,), classes=5), "token classes"),
        ((1, TOKENS, VOCABULARY), words((0,), (1, 0), classes=VOCABULARY), "token classes"),
        ((1, TOKENS, 5), named(5), "token classes"),
    ],
)
def test_what_output_and_set_make(shape, given, kind):
    task = Task.of(telling(shape), given)
    assert (task.kind, task.output, task.choices, task.places) == (kind, "y", shape[-1], False)


@pytest.mark.parametrize(
    ("shape", "given", "message"),
    [
        ((1, TOKENS, 5), data((0, 1), 2), "a row for each token, and a text has one label"),
        ((1, TOKENS, 64), data(None), r"shape \(1, 4, 64\), a row for each token"),
        ((1, 64), data((0, 1), 2), r"shape \(1, 64\), and d.tsv has labels of 2 classes; --labels FILE"),
        ((1, 64), data((0, 2), 3, pairs=True), "labels of 3 classes"),
        ((1, 2), data((0, 1, 2), 3), "labels of 3 classes"),
        ((1, 1), data((0, 1), 2), "labels of 2 classes"),
        ((1, TOKENS, 5), words((0, 1), classes=2), "labels of 2 classes"),
        ((1, 5), words((0, 4), classes=5), "labels of 5 classes"),
        ((1, TOKENS, 5), named(4), "a row for each token; where they are classes of tokens, --labels FILE"),
    ],
)
def test_what_they_do_not(shape, given, message):
    with pytest.raises(BadInput, match=f"{message}.* Supported are "):
        Task.of(telling(shape), given)


def test_places_are_classes_with_labels_and_without():
    for given in (data((0, 1), 2), data(None)):
        task = Task.of(placing((1,)), given)
        assert (task.kind, task.places) == ("classes", True)
    with pytest.raises(BadInput, match="has 4 places among"):
        Task.of(placing((4,)), data((0, 1), 2))


def test_an_output_by_name():
    plan = tiny_plan()
    names = [out.name for out in plan.outputs]
    with pytest.raises(BadInput, match=f"several outputs, {', '.join(names)}; say by --output"):
        Task.of(plan, data(None))
    with pytest.raises(BadInput, match="no output 'w'; it has "):
        Task.of(plan, data(None), "w")


def test_the_row_that_counts():
    task = Task.of(telling((1, TOKENS, VOCABULARY)), data(None))
    rows = np.random.default_rng(0).normal(size=(1, TOKENS, VOCABULARY))
    assert np.array_equal(task.answer(rows, 2), rows[0, 1:2])
    assert np.array_equal(task.answer(rows[:, -1], 2), rows[0, -1:])
    assert task.said(task.answer(rows, 3)) == (rows[0, 2].argmax(),)
    places = np.array([[5, 6, 7, 8]])
    assert task.said(task.answer(places, 3)) == (7,)
    assert task.said(task.answer(np.array([9]), 3)) == (9,)


def test_of_tokens_each_counts_and_padding_does_not():
    task = Task.of(telling((1, TOKENS, 5)), named(5))
    rows = np.random.default_rng(0).normal(size=(1, TOKENS, 5))
    assert np.array_equal(task.answer(rows, 3), rows[0, :3])
    assert task.said(task.answer(rows, 2)) == tuple(rows[0, :2].argmax(axis=1))
    assert task.said(task.answer(np.array([[5, 6, 7, 8]]), 3)) == (5, 6, 7)


def test_a_line_with_fewer_labels_than_words_is_named():
    rows = DataSet(Path("d.tsv"), (2, 3, 4), ("a b", "c", "d e"), None, (0, 1, 1), ("x y", "x"))
    with pytest.raises(BadInput, match="one label; line 4 has 2 words and 1 labels"):
        Task.of(telling((1, TOKENS, 2)), rows)
