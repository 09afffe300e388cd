"""Calibration data that knows no padding, and a mask all the same.

A mask of 1 everywhere, or of 0, fills nothing, and ranges found so leave no room for what it fills. One more
sample has the other number in the second half of its last axis.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ppc.frontend.ir.graph import Graph, Input, walk, walk_from
from ppc.passes.calibrate import Feeds
from ppc.passes.masked import Masked


def pad_feeds(graph: Graph, feeds: Sequence[Feeds]) -> Sequence[Feeds]:
    """``feeds``, and where a mask masks nothing in any of them the last one again, half of it masked."""
    idle = {each.name for each in _mask_inputs(graph) if _masks_nothing(each.name, feeds)}
    if not idle:
        return feeds
    padded = dict(feeds[-1])
    for name in idle:
        value = np.array(padded[name])
        value[..., (value.shape[-1] + 1) // 2 :] = 1 - int(value.flat[0])
        padded[name] = value
    return [*feeds, padded]


def _mask_inputs(graph: Graph) -> set[Input]:
    """Inputs that one party turns into a deep mask on a shared value."""
    masked = Masked()
    found: set[Input] = set()
    for op in walk(graph):
        layer = masked.layer(op)
        if layer is not None and layer.masks[0].sure:
            mask = layer.masks[0]
            found |= {each for each in walk_from(mask.kept or mask.term) if isinstance(each, Input)}
    return found


def _masks_nothing(name: str, feeds: Sequence[Feeds]) -> bool:
    values = [np.asarray(each[name]) for each in feeds]
    if not values or values[0].ndim == 0 or values[0].shape[-1] < 2:
        return False
    first = values[0].flat[0]
    return first in (0, 1) and all(bool(np.all(value == first)) for value in values)
