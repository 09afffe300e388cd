"""What returns to exact, and when it ends: on a made-up world, where each unit takes what it is said to."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

pytest.importorskip("torch")

from tunable import classifier, examples

from ppc import passes
from ppc.backend.scores import Rate
from ppc.backend.tune.judge import Verdict
from ppc.backend.tune.menu import Menu, Unit
from ppc.backend.tune.price import Price
from ppc.backend.tune.search import Found, Round, Worth, search
from ppc.backend.tune.settings import Goal
from ppc.frontend.ir.graph import Graph

MB = 10**6
TAKES = (40, 0, 10, 30)
"""Of a thousand rows: LayerNorm, Softmax, LayerNorm, Gelu."""

SAVES = (4, 8, 10, 6)


class World:
    """All exact an inference costs 30 MB; a score is what the replaced units leave of 1,000."""

    def __init__(self) -> None:
        feeds = [{name: x[0] for name, x in examples(classifier()).feeds.items()}]
        self.menu = Menu.of(classifier(), passes.find_profile("friendly"), feeds)
        self.worths = [
            Worth(unit, takes / 10, Price(saves * MB, saves), 500)
            for unit, takes, saves in zip(self.menu.units, TAKES, SAVES, strict=True)
        ]
        self.graphs: dict[Graph, Sequence[Unit]] = {}
        self.tuned: list[tuple[int, int]] = []
        self.told: list[Round] = []
        self.teacher = self(self.menu.teacher)

    def __call__(self, graph: Graph) -> Verdict:
        taken = sum(
            takes for unit, takes in zip(self.menu.units, TAKES, strict=True) if unit in self.units(graph)
        )
        return Verdict(accuracy=Rate(1000 - taken, 1000))

    def units(self, graph: Graph) -> list[Unit]:
        from ppc.frontend.ir.graph import walk

        there = set(walk(graph))
        return [
            unit
            for unit in self.menu.units
            if not any(op in there or self._same(op, there) for op in unit.ops)
        ]

    def _same(self, op: object, there: object) -> bool:
        return any(type(each) is type(op) and each.name == op.name for each in there)  # type: ignore[attr-defined]

    def price(self, graph: Graph) -> Price:
        saved = sum(
            saves for unit, saves in zip(self.menu.units, SAVES, strict=True) if unit in self.units(graph)
        )
        return Price((30 - saved) * MB, 30 - saved)

    def tune(self, graph: Graph, steps: int, number: int) -> Graph:
        self.tuned.append((steps, number))
        return graph

    def search(self, goal: Goal) -> Found:
        return search(
            self.menu, self.worths, self, goal, 30, self.tune, self.price, self.price, self.told.append
        )  # type: ignore[arg-type]


@pytest.fixture
def world() -> World:
    return World()


def test_what_is_within_the_budget_stays(world: World) -> None:
    found = world.search(Goal(budget=8.0))
    assert found.met
    assert [len(each.replaced) for each in found.rounds] == [4]
    assert world.tuned == [(30, 0)]
    assert world.told == list(found.rounds)


def test_first_returns_what_saves_least_for_a_point(world: World) -> None:
    """LayerNorm of the embeddings saves 1 MB a point, Gelu 2, the others more."""
    found = world.search(Goal(budget=4.0))
    assert [[str(unit) for unit in each.returned] for each in found.rounds] == [
        ["LayerNorm of embeddings"],
        [],
    ]
    assert found.met
    assert world.tuned == [(30, 0), (10, 1)]
    assert [each.price.bytes for each in found.rounds] == [2 * MB, 6 * MB]


def test_several_return_at_once_where_one_does_not_make_up(world: World) -> None:
    found = world.search(Goal(budget=1.0))
    assert [len(each.returned) for each in found.rounds] == [2, 0]
    assert [each.kind for each in found.rounds[0].returned] == ["LayerNorm", "Gelu"]
    assert found.met


def test_all_return_where_nothing_is_to_be_given_up(world: World) -> None:
    """One that takes nothing may stay."""
    found = world.search(Goal(budget=0.0))
    assert found.met
    assert found.rounds[-1].after.score == 1
    assert world.units(found.student) == [world.menu.units[1]]


def test_a_target_is_kept_and_the_budget_is_not(world: World) -> None:
    found = world.search(Goal(budget=0.0, bytes=6.5 * MB))
    assert not found.met
    assert world.price(found.student).bytes == 6 * MB
    assert [len(each.returned) for each in found.rounds] == [1, 0]


def test_a_target_in_seconds(world: World) -> None:
    found = world.search(Goal(budget=0.0, seconds=6.5))
    assert not found.met
    assert world.price(found.student).seconds == 6
    assert Goal(seconds=2.0).limit == "2s"
    assert Goal(bytes=40e6).limit == "40MB"


def test_rounds_have_the_price_of_what_was_tuned(world: World) -> None:
    """What is to come is foretold, at another price."""
    args = (world.menu, world.worths, world, Goal(budget=0.0, bytes=6.5 * MB), 30, world.tune)
    found = search(*args, lambda graph: Price(7, 7.0), world.price, world.told.append)  # type: ignore[arg-type]
    assert {each.price for each in found.rounds} == {Price(7, 7.0)}
    assert world.price(found.student).bytes == 6 * MB
