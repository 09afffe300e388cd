"""Factors that both sides know by how many rows are kept."""

from __future__ import annotations

import numpy as np
import pytest

from ppc.backend import lower_counted
from ppc.frontend.ir import ops
from ppc.frontend.ir.graph import FLOAT, INT, Graph, Input, Op, walk_from
from ppc.passes.owners import owners
from ppc.runtime.base.ring import Fixed

F = Fixed(20, 8)
ROWS, WIDTH = 5, 4
STEPS = np.array([[0.25, 0.5, 1.0, -2.0]], np.float32)
PAST = Input((ROWS, WIDTH), FLOAT, carried=True, name="past")


def turned(counted: bool = True, weight: bool = False) -> tuple[Op, Op]:
    """A product of what is kept with a factor of the place, and that factor."""
    place = Input((1, 1), INT, counted=counted, name="position_ids")
    angle = ops.Mul(ops.Cast(place, FLOAT), ops.Const(STEPS, secret=weight))
    factor = ops.Cast(angle, F)
    return ops.Mul(ops.Cast(PAST, F), factor), factor


def by_rows(**outputs: Op) -> dict[Op, np.ndarray]:
    place = next(each for each in walk_from(*outputs.values()) if each.name == "position_ids")
    assert isinstance(place, Input)
    graph = Graph((place, PAST), outputs)
    return lower_counted.by_rows(graph, owners(graph), {"past": 0})


def test_one_row_of_integers_for_each_number_of_rows() -> None:
    product, factor = turned()
    ((op, table),) = by_rows(y=product).items()
    assert op is factor
    counts = np.arange(ROWS + 1).reshape(-1, 1, 1)
    np.testing.assert_array_equal(table, counts * STEPS * 2**F.scale)


@pytest.mark.parametrize("other", ["the client's", "a weight's"])
def test_what_only_one_side_knows_is_no_such_factor(other: str) -> None:
    product, _ = turned(counted=other != "the client's", weight=other == "a weight's")
    assert not by_rows(y=product)


def test_what_is_read_as_a_value_too_is_none() -> None:
    product, factor = turned()
    assert not by_rows(y=product, z=ops.Add(ops.Cast(PAST, F), factor))
    assert not by_rows(y=product, z=factor)


def test_a_table_that_would_be_too_large_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    product, _ = turned()
    monkeypatch.setattr(lower_counted, "MOST", (ROWS + 1) * WIDTH)
    assert by_rows(y=product)
    monkeypatch.setattr(lower_counted, "MOST", (ROWS + 1) * WIDTH - 1)
    assert not by_rows(y=product)
