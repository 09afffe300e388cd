"""What rungs save, also of a student that has no price before it is tuned."""

from __future__ import annotations

import logging

import pytest

pytest.importorskip("torch")

from tunable import classifier, examples

from ppc import passes
from ppc.backend.tune.foretell import Foretold
from ppc.backend.tune.menu import Menu
from ppc.backend.tune.price import Price
from ppc.frontend.ir import ops
from ppc.frontend.ir.graph import Graph, walk
from ppc.passes import RangeError

MB = 10**6
COSTS = {ops.Gelu: 9, ops.Softmax: 7, ops.LayerNorm: 5, ops.Relu: 1}


@pytest.fixture(scope="module")
def menu() -> Menu:
    feeds = [{name: x[0] for name, x in examples(classifier()).feeds.items()}]
    return Menu.of(classifier(), passes.find_profile("menu"), feeds)


def price(graph: Graph) -> Price:
    total = sum(COSTS.get(type(op), 0) for op in walk(graph))
    return Price(total * MB, total)


def silent(what: str, done: int, total: int) -> None:
    pass


def test_among_others(menu: Menu) -> None:
    told = list[tuple[str, int, int]]()
    foretold = Foretold(menu, price, lambda *each: told.append(each))
    for unit in menu.units:
        others = [rung for rung in menu.first if rung.unit is not unit]
        for rung in unit.rungs:
            wanted = price(menu.graph(others)) - price(menu.graph([*others, rung]))
            assert foretold.saved[rung] == wanted, rung
    assert foretold(menu.first) == price(menu.graph(menu.first))
    assert foretold(menu.first[1:]) == price(menu.graph(menu.first[1:]))
    assert told[-1] == ("prices", len(told), len(told))


def test_a_student_that_outgrows_every_ring(menu: Menu, caplog: pytest.LogCaptureFixture) -> None:
    """With more than one unit replaced, here; each alone has a price."""

    def narrow(graph: Graph) -> Price:
        if price(menu.base).bytes - price(graph).bytes > 10 * MB:
            raise RangeError("logits needs a ring of 90 bits")
        return price(graph)

    with caplog.at_level(logging.INFO):
        foretold = Foretold(menu, narrow, silent)
    assert "logits needs a ring of 90 bits" in caplog.text
    for rung in foretold.saved:
        assert foretold.saved[rung] == price(menu.base) - price(menu.alone(rung)), rung
    saved = sum(foretold.saved[rung].bytes for rung in menu.first)
    assert foretold(menu.first) == Price(
        price(menu.base).bytes - saved, (price(menu.base).bytes - saved) / MB
    )
    assert foretold(()) == price(menu.base)


def test_a_model_without_a_price_is_refused(menu: Menu) -> None:
    def never(graph: Graph) -> Price:
        raise RangeError("too wide")

    with pytest.raises(RangeError):
        Foretold(menu, never, silent)
