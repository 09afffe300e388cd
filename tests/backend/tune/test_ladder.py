"""Which rungs a unit has, in which order: by what they save, and what they take."""

from __future__ import annotations

from dataclasses import replace

import pytest

pytest.importorskip("torch")

from ppc.backend.tune.ladder import Worth, climb, ladder
from ppc.backend.tune.menu import Unit
from ppc.backend.tune.price import Price
from ppc.backend.tune.settings import Goal
from ppc.frontend.ir import ops
from ppc.passes.friendly import variants

KNOWN = variants(ops.Softmax)
ROWS = 500


def worths(**given: tuple[int, float]) -> list[Worth]:
    """Of each variant the bytes that it saves, and the points that it takes."""
    unit = Unit("Softmax", "layer.0", tuple(KNOWN[name] for name in given), ())
    pairs = zip(unit.rungs, given.values(), strict=True)
    return [Worth(rung, points, Price(saves, saves / 10), ROWS) for rung, (saves, points) in pairs]


def rungs(**given: tuple[int, float]) -> list[str]:
    return [each.rung.variant for each in ladder(worths(**given))]


def test_the_order_is_that_of_prices_and_not_of_the_profile() -> None:
    assert rungs(relu_mean=(40, 5.0), relu_sum=(30, 1.0)) == ["relu_mean", "relu_sum"]
    assert rungs(relu_sum=(30, 1.0), relu_mean=(40, 5.0)) == ["relu_mean", "relu_sum"]
    assert rungs(relu_sum=(50, 5.0), relu_mean=(40, 1.0)) == ["relu_sum", "relu_mean"]


@pytest.mark.parametrize(
    ("saves", "points"),
    [
        (30, 5.0),  # dearer and no nearer
        (30, 6.0),
        (10, 4.5),  # the way on to exact gives up less a point: 10 for 4.5
        (30, 4.95),  # nearer by half a row, which nobody can tell
        (0, 1.0),
        (-5, 0.2),
    ],
)
def test_what_is_not_worth_standing_on_is_left_out(saves: int, points: float) -> None:
    assert rungs(relu_mean=(40, 5.0), relu_sum=(saves, points)) == ["relu_mean"]


def test_seconds_count_where_they_are_the_target() -> None:
    """relu_mean saves more bytes, relu_sum more seconds."""
    given = worths(relu_mean=(40, 5.0), relu_sum=(30, 1.0))
    slower = replace(given[0], saves=Price(40, 1.0))
    for by, wanted in (("bytes", ["relu_mean", "relu_sum"]), ("seconds", ["relu_sum"])):
        found = ladder([replace(each, by=by) for each in (slower, given[1])])
        assert [each.rung.variant for each in found] == wanted
    assert (Goal(seconds=2.0).by, Goal(bytes=2.0).by, Goal().by) == ("seconds", "bytes", "bytes")


def test_of_what_saves_as_much_the_nearest_is_the_first() -> None:
    assert rungs(relu_mean=(40, 5.0), square=(40, 4.0)) == ["square"]


def test_each_step_costs_more_a_point_than_the_one_before() -> None:
    found = ladder(worths(relu_mean=(40, 5.0), square=(38, 4.0), relu2=(36, 1.0), relu_sum=(20, 0.0)))
    assert [each.rung.variant for each in found] == ["relu_mean", "relu2", "relu_sum"]
    steps = climb(found)
    assert [str(each) for each in steps] == [
        "Softmax of layer.0 to relu2",
        "Softmax of layer.0 to relu_sum",
        "Softmax of layer.0 to exact",
    ]
    assert [each.given_up for each in steps] == [4, 16, 20]
    assert [each.points for each in steps] == [4.0, 1.0, 0.0]
    assert [each.a_point for each in steps] == pytest.approx([1, 16 / 0.9, 200])


def test_a_variant_alone_is_a_ladder() -> None:
    (step,) = climb(ladder(worths(relu_sum=(30, 0.0))))
    assert (step.above, step.given_up, step.a_point) == (None, 30, pytest.approx(300))
