"""What students that are not tuned yet are to cost, and what each rung saves.

In the usual bits: those that a student would need before it is tuned say nothing of after. One whose values
outgrow every ring before it is tuned has no price at all; what a rung saves is then what it saves alone, and
a student costs what its rungs leave of the base.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from functools import reduce
from operator import sub

from ppc.backend.tune.menu import Menu, Rung
from ppc.backend.tune.price import Price
from ppc.frontend.ir.graph import Graph
from ppc.passes import RangeError
from ppc.passes.train.optimise import Tell

log = logging.getLogger(__name__)


class Foretold:
    """``price(graph)`` in the usual bits. Units of one sort are priced once.

    Attributes:
        saved: by every rung, where all other units are replaced too, by their first variants, or alone.
    """

    def __init__(self, menu: Menu, price: Callable[[Graph], Price], tell: Tell) -> None:
        self._menu, self._price, self._tell = menu, price, tell
        self._base: Price | None = None
        self._first: Price | None = None
        try:
            self._first = price(menu.graph(menu.first))
            found = dict(self._of_sorts(self._among_others))
        except RangeError as error:
            log.info("units are priced each alone, since all of them replaced and not tuned: %s", error)
            self._base = price(menu.base)
            found = dict(self._of_sorts(self._alone))
        self.saved = {rung: found[unit.sort][rung.place] for unit in menu.units for rung in unit.rungs}

    def __call__(self, rungs: Sequence[Rung]) -> Price:
        """Of the student with these rungs."""
        if self._base is not None:
            return reduce(sub, (self.saved[rung] for rung in rungs), self._base)
        if self._first is not None and tuple(rungs) == self._menu.first:
            return self._first
        return self._price(self._menu.graph(rungs))

    def _of_sorts(
        self, saved: Callable[[Sequence[Rung]], list[Price]]
    ) -> Iterator[tuple[object, list[Price]]]:
        sorts = {unit.sort: unit for unit in reversed(self._menu.units)}
        for i, (sort, unit) in enumerate(sorts.items()):
            yield sort, saved(unit.rungs)
            self._tell("prices", i + 1, len(sorts))

    def _among_others(self, rungs: Sequence[Rung]) -> list[Price]:
        menu = self._menu
        assert self._first is not None
        others = [each for each in menu.first if each.unit is not rungs[0].unit]
        exact = self._price(menu.graph(others))
        above = [self._price(menu.graph([*others, rung])) for rung in rungs[1:]]
        return [exact - each for each in (self._first, *above)]

    def _alone(self, rungs: Sequence[Rung]) -> list[Price]:
        assert self._base is not None
        return [self._base - self._price(self._menu.alone(rung)) for rung in rungs]
