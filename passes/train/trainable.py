"""A graph as a function of its weights in PyTorch: one more library for the same meanings.

A graph is of one prompt. `torch.func.vmap` runs it over many at once, the weights being the same for all.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch

from ppc.frontend.ir import ops
from ppc.frontend.ir.constant import with_values
from ppc.frontend.ir.graph import Graph, Op, walk
from ppc.frontend.ir.reference import evaluate_in
from ppc.runtime.base.namespace import of_torch

Feeds = Mapping[str, torch.Tensor]
"""Inputs by name, samples on a first axis before the graph's own."""


def trained_weights(graph: Graph, tables: bool = False) -> list[ops.Const]:
    """The weights that training moves: factors of products, and vectors (γ, β, biases, fitted constants).

    What has a row for each token or id stays as it is: rotary factors and masks belong to a formula, and of a
    ``tables`` of ids a batch meets few rows, so that they are trained only where nobody has before.
    """
    matrices: set[Op] = set()
    rows: set[Op] = set()
    for op in walk(graph):
        if isinstance(op, ops.MatMul):
            matrices |= {op.a, op.b}
            rows |= {op.b} if isinstance(op.a, ops.OneHot) else set()
        elif isinstance(op, ops.Gather):
            rows.add(op.x)
    matrices = matrices | rows if tables else matrices - rows
    return [
        op
        for op in walk(graph)
        if isinstance(op, ops.Const) and op.secret and op.value.dtype.kind == "f"
        if op in matrices or (op not in rows and max(op.value.shape, default=1) == op.value.size)
        if np.isfinite(op.value).all()
    ]


class Trainable:
    """``graph`` on a device, its `trained_weights` as leaves that want gradients.

    ``weights`` may be assigned in place; ``as_graph`` is the graph with them as they are now.
    """

    def __init__(
        self, graph: Graph, device: str = "cpu", real: torch.dtype = torch.float32, *, tables: bool = False
    ) -> None:
        self.graph, self.device = graph, torch.device(device)
        self._xp = of_torch(torch, real)
        moving = set[Op](trained_weights(graph, tables))
        constants = {op: _tensor(op, real).to(self.device) for op in walk(graph) if isinstance(op, ops.Const)}
        self.weights: dict[Op, torch.Tensor] = {
            op: x.requires_grad_() for op, x in constants.items() if op in moving
        }
        self._kept: dict[Op, torch.Tensor] = {op: x for op, x in constants.items() if op not in moving}

    def __call__(self, feeds: Feeds, wanted: Sequence[Op]) -> list[torch.Tensor]:
        """The values of ``wanted``, ops of the graph, samples on a first axis."""
        given = {**self._kept, **self.weights}

        def one(sample: Feeds) -> tuple[torch.Tensor, ...]:
            values = evaluate_in(self._xp, self.graph, sample, given)
            return tuple(values[op] for op in wanted)

        with self.device:  # where meanings make arrays of their own
            return list(torch.func.vmap(one)(dict(feeds)))

    def as_graph(self) -> Graph:
        """The graph with the weights of this moment, in single precision."""
        new = {
            op: x.detach().cpu().numpy().astype(np.float32)
            for op, x in self.weights.items()
            if isinstance(op, ops.Const)
        }
        return with_values(self.graph, new)


def _tensor(op: ops.Const, real: torch.dtype) -> torch.Tensor:
    """A mask of −10³⁹ is no infinity here: what it masks is multiplied by 0 elsewhere."""
    if op.value.dtype.kind != "f" or (op.value.dtype == np.float32 and real == torch.float32):
        return torch.tensor(op.value)  # nothing is out of range, and tables are large
    value, most = op.value.astype(np.float64), torch.finfo(real).max
    return torch.tensor(np.where(np.isinf(value), value, np.clip(value, -most, most)), dtype=real)


def device() -> str:
    return "cuda" if torch.cuda.is_available() else "cpu"
