"""A graph as a function of its weights in PyTorch: one more library for the same meanings.

A graph is of one prompt. `torch.func.vmap` runs it over many at once, the weights being the same for all.

Its length is what prompts are padded to, and padding is computed as words are. So the same model may be given
at other lengths too: a batch of short texts is cut to the least that holds them.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from ppc.frontend.ir import ops
from ppc.frontend.ir.constant import with_values
from ppc.frontend.ir.graph import FLOAT, Graph, Op, walk
from ppc.frontend.ir.reference import evaluate_in
from ppc.passes.train import losses
from ppc.passes.train.examples import Examples
from ppc.runtime.base.namespace import of_torch

Feeds = Mapping[str, torch.Tensor]
"""Inputs by name, samples on a first axis before the graph's own."""

Shapes = Mapping[str, tuple[int, ...]]

_COMPARED, _OFF = 16, 1e-3
"""Samples that show whether a model answers the same at a lesser length, and how far off it may be, in parts
of the answers' spread."""


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


@dataclass(frozen=True, eq=False)
class _Form:
    """The model at one length: which op of it is which of the whole one, and its constants."""

    graph: Graph
    ops: Mapping[Op, Op]
    constants: Mapping[Op, torch.Tensor]

    def inputs(self) -> Shapes:
        return {each.name: each.type.shape for each in self.graph.inputs}


class Trainable:
    """``graph`` on a device, its `trained_weights` as leaves that want gradients.

    ``weights`` may be assigned in place; ``as_graph`` is the graph with them as they are now. ``shorter`` has
    the same graph at lesser lengths, whose weights are these too; for those that are no such thing raises
    ValueError.
    """

    def __init__(
        self,
        graph: Graph,
        device: str = "cpu",
        real: torch.dtype = torch.float32,
        *,
        tables: bool = False,
        shorter: Mapping[int, Graph] | None = None,
    ) -> None:
        self.graph, self.device = graph, torch.device(device)
        self._xp = of_torch(torch, real)
        moving = set[Op](trained_weights(graph, tables))
        constants: dict[Op, torch.Tensor] = {
            op: _tensor(op, real).to(self.device) for op in walk(graph) if isinstance(op, ops.Const)
        }
        self.weights: dict[Op, torch.Tensor] = {
            op: x.requires_grad_() for op, x in constants.items() if op in moving
        }
        whole = _Form(graph, {op: op for op in walk(graph)}, constants)
        forms = {n: self._form(each, whole, real) for n, each in (shorter or {}).items()}
        self._forms = [*(forms[n] for n in sorted(forms)), whole]
        self.lengths = tuple(sorted(forms))

    def __call__(self, feeds: Feeds, wanted: Sequence[Op]) -> list[torch.Tensor]:
        """The values of ``wanted``, ops of the graph, samples on a first axis; at a lesser length where the
        feeds are of that."""
        shapes = {name: tuple(x.shape[1:]) for name, x in feeds.items()}
        form = next((each for each in self._forms if each.inputs() == shapes), self._forms[-1])
        asked = [form.ops[op] for op in wanted]

        def one(sample: Feeds) -> tuple[torch.Tensor, ...]:
            values = evaluate_in(self._xp, form.graph, sample, form.constants)
            return tuple(values[op] for op in asked)

        with self.device:  # where meanings make arrays of their own
            return list(torch.func.vmap(one)(dict(feeds)))

    def cut(self, data: Examples) -> Examples:
        """``data`` without padding that all of its samples have, as far as there is such a length."""
        if data.tokens is None:
            return data
        most = int(data.tokens.max())
        for n, form in zip(self.lengths, self._forms, strict=False):
            if most <= n:
                return data.cut(n, form.inputs())
        return data

    def as_graph(self) -> Graph:
        """The graph with the weights of this moment, in single precision."""
        new = {
            op: x.detach().cpu().numpy().astype(np.float32)
            for op, x in self.weights.items()
            if isinstance(op, ops.Const)
        }
        return with_values(self.graph, new)

    def _form(self, graph: Graph, whole: _Form, real: torch.dtype) -> _Form:
        """``graph`` beside the whole one, with its weights, and with what is as large and the server's."""
        mine, theirs = walk(whole.graph), walk(graph)
        if [(type(op), op.name) for op in mine] != [(type(op), op.name) for op in theirs]:
            raise ValueError("other operators at a lesser length")
        constants = dict[Op, torch.Tensor]()
        for a, b in zip(mine, theirs, strict=True):
            if not isinstance(b, ops.Const):
                continue
            same = a.type == b.type
            if a in self.weights and not same:
                raise ValueError(f"{a.name or 'a weight'} has other places at a lesser length")
            if same and b.secret:
                constants[b] = whole.constants[a]
            else:
                constants[b] = _tensor(b, real).to(self.device)
        return _Form(graph, dict(zip(mine, theirs, strict=True)), constants)


def usable(
    graph: Graph, shorter: Mapping[int, Graph], data: Examples, device: str, tables: bool = False
) -> Collection[int]:
    """At which of the lengths the model answers as it does at its own, by some of ``data`` that fit them."""
    found = list[int]()
    outputs = [op for op in graph.outputs.values() if op.type.num == FLOAT]
    if data.tokens is None:
        return found
    for n, each in shorter.items():
        fitting = np.flatnonzero(data.tokens <= n)[:_COMPARED]
        try:
            model = Trainable(graph, device, tables=tables, shorter={n: each})
        except ValueError:
            continue
        some = data.at(fitting)
        if len(some) and all(_alike(model, some, op) for op in outputs):
            found.append(n)
    return found


def _alike(model: Trainable, data: Examples, output: Op) -> bool:
    """Whether rows that count come out the same at a lesser length, in the median: a student that is not
    tuned yet may come to no number on some."""
    found = []
    for each in (data, model.cut(data)):
        batch = each.on(model.device)
        with torch.no_grad():
            found.append(losses.counted(model(batch.feeds, [output])[0], batch.mask))
    whole, less = found
    if whole.shape != less.shape:
        return False
    off, spread = (x.abs().amax(dim=-1).nanmedian() for x in (whole - less, whole - whole.nanmean(dim=0)))
    return bool(off <= _OFF * spread)


def _tensor(op: ops.Const, real: torch.dtype) -> torch.Tensor:
    """A mask of −10³⁹ is no infinity here: what it masks is multiplied by 0 elsewhere."""
    if op.value.dtype.kind != "f" or (op.value.dtype == np.float32 and real == torch.float32):
        return torch.tensor(op.value)  # nothing is out of range, and tables are large
    value, most = op.value.astype(np.float64), torch.finfo(real).max
    return torch.tensor(np.where(np.isinf(value), value, np.clip(value, -most, most)), dtype=real)


def device() -> str:
    return "cuda" if torch.cuda.is_available() else "cpu"
