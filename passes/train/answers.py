"""What a graph says of many prompts, sooner than one by one."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from ppc.frontend.ir.graph import Graph
from ppc.passes.train.examples import Examples
from ppc.passes.train.trainable import Trainable, device

_BATCH = 64


def answers(graph: Graph, data: Examples) -> dict[str, NDArray[np.generic]]:
    """The outputs by name in single precision, samples on a first axis."""
    model = Trainable(graph, device())
    wanted = list(graph.outputs.values())
    found: list[list[NDArray[np.generic]]] = []
    with torch.no_grad():
        for start in range(0, len(data), _BATCH):
            batch = data.at(np.arange(start, min(start + _BATCH, len(data)))).on(model.device)
            found.append([x.cpu().numpy() for x in model(batch.feeds, wanted)])
    return {
        name: np.concatenate(parts)
        for name, parts in zip(graph.outputs, zip(*found, strict=True), strict=True)
    }
