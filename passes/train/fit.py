"""Train a graph on labels: a teacher before it is distilled, or for as long as its student was, since labels
train a teacher too."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch

from ppc.frontend.ir.graph import FLOAT, Graph
from ppc.passes.train import losses
from ppc.passes.train.examples import Batch, Examples
from ppc.passes.train.optimise import Options, Tell, optimise, silent
from ppc.passes.train.trainable import Trainable, device, usable


def fit(
    graph: Graph,
    data: Examples,
    held: Examples,
    options: Options | None = None,
    *,
    what: str = "training",
    tell: Tell = silent,
    work: Path | None = None,
    shorter: Mapping[int, Graph] | None = None,
) -> Graph:
    """``graph`` with weights that give the labels of ``data``, by cross-entropy of its one output of numbers.

    ``held`` chooses the learning rate; ``work`` is a folder from which an interrupted run goes on.
    ``shorter`` has the same graph at lesser lengths, for batches of short texts (`trainable.py`). Raises
    ValueError for a graph with several such outputs, or data without labels.
    """
    outputs = [op for op in graph.outputs.values() if op.type.num == FLOAT]
    if len(outputs) != 1 or data.labels is None or held.labels is None:
        raise ValueError(f"labels are fitted by one output of logits, not {len(outputs)}, and need labels")
    options = options or Options()
    lengths = usable(graph, shorter or {}, data, device(), options.tables)
    less = {n: each for n, each in (shorter or {}).items() if n in lengths}
    model = Trainable(graph, device(), tables=options.tables, shorter=less)

    def loss(batch: Batch) -> torch.Tensor:
        assert batch.labels is not None
        return losses.hard_labels(model(batch.feeds, outputs)[0], batch.labels)

    optimise(
        model, loss, data, held, options, graphs=(graph, *less.values()), what=what, tell=tell, work=work
    )
    return model.as_graph()
