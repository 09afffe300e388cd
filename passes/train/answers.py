"""What a graph says of many prompts, sooner than one by one."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from ppc.frontend.ir.graph import Graph, Op
from ppc.passes.train.examples import Examples
from ppc.passes.train.trainable import Trainable, device

_BATCH = 64


def answers(graph: Graph, data: Examples) -> dict[str, NDArray[np.generic]]:
    """The outputs by name in single precision, samples on a first axis."""
    return dict(zip(graph.outputs, values(graph, data, list(graph.outputs.values())), strict=True))


def values(graph: Graph, data: Examples, wanted: Sequence[Op]) -> list[NDArray[np.generic]]:
    """The same of any ops of the graph."""
    model = Trainable(graph, device())
    found: list[list[NDArray[np.generic]]] = []
    with torch.no_grad():
        for start in range(0, len(data), _BATCH):
            batch = data.at(np.arange(start, min(start + _BATCH, len(data)))).on(model.device)
            found.append([x.cpu().numpy() for x in model(batch.feeds, wanted)])
    return [np.concatenate(parts) for parts in zip(*found, strict=True)]
