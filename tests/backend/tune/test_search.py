"""What steps up, how far, and when it ends: on a made-up world, where each unit takes what it is said to."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import product

import pytest

pytest.importorskip("torch")

from tunable import classifier, examples

from ppc import passes
from ppc.backend.scores import Rate
from ppc.backend.tune.judge import Verdict
from ppc.backend.tune.ladder import Worth, ladder
from ppc.backend.tune.menu import Menu, Rung
from ppc.backend.tune.price import Price
from ppc.backend.tune.search import Found, Round, decisions, search
from ppc.backend.tune.settings import Goal
from ppc.frontend.ir.graph import Graph
from ppc.frontend.ir.text import show

MB = 10**6
Table = tuple[tuple[int, ...], ...]
"""A row for each unit: LayerNorm, Softmax, LayerNorm, Gelu; a number for each of its rungs."""

TAKES: Table = ((40,), (0,), (10,), (30,))
"""Of a thousand rows."""
SAVES: Table = ((4,), (8,), (10,), (6,))
"""MB, of 30 where all is exact; and as many seconds."""


class World:
    """A score is what the rungs in place leave of 1,000."""

    def __init__(self, profile: str = "friendly", takes: Table = TAKES, saves: Table = SAVES) -> None:
        feeds = [{name: x[0] for name, x in examples(classifier()).feeds.items()}]
        self.menu = Menu.of(classifier(), passes.find_profile(profile), feeds)
        pairs = zip(self.menu.units, takes, saves, strict=True)
        self.worths = {
            rung: Worth(rung, row[rung.place] / 10, Price(cost[rung.place] * MB, cost[rung.place]), 500)
            for unit, row, cost in pairs
            for rung in unit.rungs
        }
        self.ladders = [ladder([self.worths[rung] for rung in unit.rungs]) for unit in self.menu.units]
        choices = product(*((None, *unit.rungs) for unit in self.menu.units))
        placed = [tuple(rung for rung in each if rung) for each in choices]
        self.known = {show(self.menu.graph(each)): each for each in placed}
        self.tuned: list[tuple[int, int]] = []
        self.told: list[Round] = []
        self.teacher = self(self.menu.teacher)

    def rungs(self, graph: Graph) -> tuple[Rung, ...]:
        return self.known[show(graph)]

    def __call__(self, graph: Graph) -> Verdict:
        taken = round(sum(10 * self.worths[rung].points for rung in self.rungs(graph)))
        return Verdict(accuracy=Rate(1000 - taken, 1000))

    def price(self, graph: Graph) -> Price:
        saved = round(sum(self.worths[rung].saves.seconds for rung in self.rungs(graph)))
        return Price((30 - saved) * MB, 30 - saved)

    def foretold(self, rungs: Sequence[Rung]) -> Price:
        return self.price(self.menu.graph(rungs))

    def tune(self, graph: Graph, rungs: Sequence[Rung], steps: int, number: int) -> Graph:
        self.tuned.append((steps, number))
        return graph

    def search(self, goal: Goal) -> Found:
        prices = self.price, self.foretold
        return search(self.menu, self.ladders, self, goal, 30, self.tune, *prices, self.told.append)  # type: ignore[arg-type]


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
    assert [[str(step) for step in each.taken] for each in found.rounds] == [
        ["LayerNorm of embeddings to exact"],
        [],
    ]
    assert found.met
    assert world.tuned == [(30, 0), (10, 1)]
    assert [each.price.bytes for each in found.rounds] == [2 * MB, 6 * MB]


def test_several_return_at_once_where_one_does_not_make_up(world: World) -> None:
    found = world.search(Goal(budget=1.0))
    assert [len(each.taken) for each in found.rounds] == [2, 0]
    assert [each.below.rung.unit.kind for each in found.rounds[0].taken] == ["LayerNorm", "Gelu"]
    assert found.met


def test_what_saves_nothing_is_not_replaced() -> None:
    """Whatever the budget; of what it takes alone the report tells."""
    world = World(saves=((-1,), (8,), (0,), (6,)))
    found = world.search(Goal(budget=100.0))
    assert [{each.unit.kind for each in round_.replaced} for round_ in found.rounds] == [{"Softmax", "Gelu"}]
    assert world.tuned == [(30, 0)]
    decided = decisions(world.ladders, world.teacher, found.rounds)
    assert [each.rung for each in decided] == ["exact", "relu_sum", "exact", "relu"]
    assert decided[0].worth.points == 4.0
    assert all(each.before == world.teacher.score for each in decided)


def test_all_return_where_nothing_is_to_be_given_up(world: World) -> None:
    """One that takes nothing may stay."""
    found = world.search(Goal(budget=0.0))
    assert found.met
    assert found.rounds[-1].after.score == 1
    assert [each.unit for each in world.rungs(found.student)] == [world.menu.units[1]]


def test_a_target_is_kept_and_the_budget_is_not(world: World) -> None:
    found = world.search(Goal(budget=0.0, bytes=6.5 * MB))
    assert not found.met
    assert world.price(found.student).bytes == 6 * MB
    assert [len(each.taken) for each in found.rounds] == [1, 0]


def test_a_target_in_seconds(world: World) -> None:
    found = world.search(Goal(budget=0.0, seconds=6.5))
    assert not found.met
    assert world.price(found.student).seconds == 6
    assert Goal(seconds=2.0).limit == "2s"
    assert Goal(bytes=40e6).limit == "40MB"


def test_rounds_have_the_price_of_what_was_tuned(world: World) -> None:
    """What is to come is foretold, at another price."""
    args = (world.menu, world.ladders, world, Goal(budget=0.0, bytes=6.5 * MB), 30, world.tune)
    prices = lambda graph: Price(7, 7.0), world.foretold
    found = search(*args, *prices, world.told.append)  # type: ignore[arg-type]
    assert {each.price for each in found.rounds} == {Price(7, 7.0)}
    assert world.price(found.student).bytes == 6 * MB


@pytest.fixture
def ladders() -> World:
    """Softmax by relu_mean saves 9 MB and takes 4 points, by relu_sum 7 and 1; the norms one variant each."""
    return World("menu", ((40, 0), (40, 10), (0, 0), (0,)), ((2, 1), (9, 7), (5, 5), (6,)))


def way(found: Found) -> list[list[str]]:
    return [[str(step) for step in each.taken] for each in found.rounds]


def test_a_unit_steps_up_one_rung_and_then_to_exact(ladders: World) -> None:
    """As far as the budget asks, one rung after each tuning, and no other unit for it."""
    taken = {goal: way(ladders.search(Goal(budget=goal))) for goal in (8.0, 4.0, 1.0, 0.0)}
    norm, sum_, exact = (
        "LayerNorm of embeddings to centred_affine",
        "Softmax of layer.0 to relu_sum",
        "Softmax of layer.0 to exact",
    )
    assert taken == {
        8.0: [[]],
        4.0: [[norm], []],
        1.0: [[norm, sum_], []],
        0.0: [[norm, sum_], [exact], []],
    }


def test_a_unit_may_step_twice_as_tuning_goes_on() -> None:
    """Where the first step makes up for less than was expected of it."""
    worse = World("menu", ((0, 0), (20, 15), (0, 0), (0,)), ((3, 3), (9, 7), (5, 5), (6,)))
    worse.ladders[1] = (worse.ladders[1][0], replace(worse.worths[worse.menu.units[1].rungs[1]], points=0.5))
    found = worse.search(Goal(budget=1.0))
    assert way(found) == [["Softmax of layer.0 to relu_sum"], ["Softmax of layer.0 to exact"], []]
    assert worse.tuned == [(30, 0), (10, 1), (10, 2)]
    assert [each.variants for each in found.rounds] == [
        "2 affine, 1 relu, 1 relu_mean",
        "2 affine, 1 relu, 1 relu_sum",
        "2 affine, 1 relu",
    ]
    softmax = decisions(worse.ladders, worse.teacher, found.rounds)[1]
    assert softmax.way == ("relu_mean", "relu_sum", "exact")
    assert (softmax.before, softmax.after) == (0.985, 1.0)


def test_decisions_name_the_rung_that_a_unit_ended_on(ladders: World) -> None:
    found = ladders.search(Goal(budget=1.0))
    norm, softmax, other, gelu = decisions(ladders.ladders, ladders.teacher, found.rounds)
    assert [each.way for each in (norm, softmax, other, gelu)] == [
        ("affine", "centred_affine"),
        ("relu_mean", "relu_sum"),
        ("affine",),
        ("relu",),
    ]
    said = softmax.document()
    assert (said["variant"], said["decision"], said["left"]) == ("relu_sum", "replaced", ["relu_mean"])
    assert (said["bytes_saved"], said["points_alone"]) == (7 * MB, 1.0)
    assert found.rounds[-1].document()["rungs"] == {
        "LayerNorm of embeddings": "centred_affine",
        "Softmax of layer.0": "relu_sum",
        "LayerNorm of layer.0": "affine",
        "Gelu of layer.0": "relu",
    }


def test_a_target_holds_steps_back_one_by_one(ladders: World) -> None:
    found = ladders.search(Goal(budget=0.0, bytes=12.5 * MB))
    assert way(found) == [["LayerNorm of embeddings to centred_affine", "Softmax of layer.0 to relu_sum"], []]
    assert not found.met
