"""What is tuned, at lesser lengths as well: short texts are trained on without the padding of long ones."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Sequence

import numpy as np

from ppc.backend.tune.menu import Array, Menu, Rung
from ppc.frontend.ir.graph import Graph
from ppc.runtime.base.errors import Error

log = logging.getLogger(__name__)

_PARTS = (0.25, 0.5, 0.75, 0.9)
"""Of the texts, that are no longer than a lesser length."""

_STEP = 8
"""Lengths are multiples of this."""

_FITTED = 4
"""Samples that substitutions are fitted to at lesser lengths, where what comes of it is not used."""

Sample = dict[str, Array]
Made = Callable[[Graph, Sequence[Sample]], Menu]


def lesser(tokens: Array, whole: int) -> list[int]:
    """Lengths below ``whole`` that many texts of so many ``tokens`` fit into."""
    most = np.quantile(tokens, _PARTS, method="higher")
    found = {-(-int(each) // _STEP) * _STEP for each in most}
    return sorted(each for each in found if each < whole)


def menus(
    lengths: Collection[int], load: Callable[[int], Graph], make: Made, samples: Sequence[Sample]
) -> dict[int, Menu]:
    """The menu at each length at which the model can be had; ``samples`` are cut to them."""
    found = dict[int, Menu]()
    for n in lengths:
        try:
            graph = load(n)
            found[n] = make(graph, [_cut(each, graph) for each in samples[:_FITTED]])
        except (Error, ValueError) as error:
            log.info("no training at %d tokens: %s", n, error)
    return found


def at(menu: Menu, other: Menu, rungs: Sequence[Rung]) -> tuple[Graph, Graph]:
    """Teacher and student of ``other``, with those units on rungs that are so in ``menu``."""
    places = {unit: i for i, unit in enumerate(menu.units)}
    same = [other.units[places[each.unit]].rungs[each.place] for each in rungs]
    return other.teacher, other.graph(same)


def _cut(sample: Sample, graph: Graph) -> Sample:
    shapes = {each.name: each.type.shape for each in graph.inputs}
    return {name: x[tuple(slice(n) for n in shapes[name])] for name, x in sample.items()}
