"""What is tuned, at lesser lengths: which they are, and that units there are those that are meant."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("torch")

from tunable import TOKENS, classifier, examples

from ppc.backend.tune import lengths
from ppc.backend.tune.menu import Menu
from ppc.backend.tune.tune import menu_of
from ppc.frontend.errors import UsageError
from ppc.frontend.ir.graph import Graph
from ppc.frontend.ir.text import show

FEEDS = [{name: x[i] for name, x in examples(classifier()).feeds.items()} for i in range(8)]


def made(graph: Graph, samples: list[lengths.Sample]) -> Menu:
    return menu_of(graph, "menu", samples)[0]


def of(tokens: int) -> Graph:
    if tokens == 5:
        raise UsageError("no such length")
    return classifier(tokens=tokens)


def test_lengths_are_those_of_the_texts() -> None:
    tokens = np.array([3] * 30 + [11] * 30 + [20] * 30 + [48] * 10)
    assert lengths.lesser(tokens, 48) == [8, 16, 24]
    assert lengths.lesser(tokens, 24) == [8, 16]
    assert lengths.lesser(np.array([48] * 9), 48) == []
    assert lengths.lesser(np.array([2, 3]), 6) == []


def test_a_length_at_which_the_model_is_not_to_be_had_is_left_out(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    assert set(lengths.menus([3, 5], of, made, FEEDS)) == {3}
    assert "no training at 5 tokens: no such length" in caplog.text


def test_students_are_of_the_same_units() -> None:
    menu = made(classifier(), FEEDS)
    (other,) = lengths.menus([3], of, made, FEEDS).values()
    for rungs in (menu.first, menu.first[1:], (menu.units[1].rungs[-1],)):
        teacher, student = lengths.at(menu, other, rungs)
        assert [each.type.shape for each in teacher.inputs] == [(1, 3)] * 3
        assert show(student).replace("3", str(TOKENS)) == show(menu.graph(rungs)).replace("3", str(TOKENS))
