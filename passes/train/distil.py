"""Train a graph towards another: what hidden states it has, and what it answers.

One stage for all of it, after MPCFormer (arXiv 2211.01452), whose stages one after the other were no better
on MiniLM: the square of what hidden states differ by, in units of the teacher's variance; the divergence of
soft labels, or what vectors differ by; and, where they are given, labels. Values that go much further than
the teacher's cost too, since a ring is as large as what it must hold.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch

from ppc.frontend.ir import ops
from ppc.frontend.ir.graph import FLOAT, Graph, Op, walk
from ppc.passes.eliminate import thins
from ppc.passes.owners import Owners
from ppc.passes.train import losses
from ppc.passes.train.examples import Batch, Examples
from ppc.passes.train.optimise import Options, Tell, optimise, silent
from ppc.passes.train.trainable import Trainable, device, usable

log = logging.getLogger(__name__)

Target = Literal["logits", "vectors"]
Pair = tuple[Op, Op]
"""A value of the teacher's and what stands for it in the student."""

STATES = (ops.LayerNorm, ops.RMSNorm)
"""Whose values are hidden states."""

ACTIVATIONS = (ops.Gelu, ops.Silu)
"""Whose values may go no further, states included."""

ROOM = 1.5
"""Values go so many times as far as the teacher's before it costs."""

_SEEN = 256
"""Samples that show how far the teacher's values go."""


@dataclass(frozen=True)
class Distillation(Options):
    """What counts how much: hidden states, attention maps, the teacher's answers as logits or vectors,
    labels, and values out of range."""

    target: Target = "logits"
    hidden: float = 1.0
    attention: float = 0.0
    answers: float = 1.0
    labels: float = 0.0
    range: float = 1.0


def distil(
    teacher: Graph,
    student: Graph,
    data: Examples,
    held: Examples,
    options: Distillation | None = None,
    *,
    what: str = "tuning",
    tell: Tell = silent,
    work: Path | None = None,
    shorter: Mapping[int, tuple[Graph, Graph]] | None = None,
) -> Graph:
    """``student`` with weights that make it more like ``teacher``.

    Both have the same inputs and outputs, and values of one name and shape in both are the same value: a
    substitution keeps the name of what it replaces. ``held`` chooses the learning rate; ``what`` is told
    with the progress, and ``work`` is a folder from which an interrupted run goes on (`optimise`).
    ``shorter`` has both at lesser lengths, for batches of short texts; those at which either answers
    otherwise are not used (`trainable.py`).
    """
    options, shorter = options or Distillation(), shorter or {}
    theirs, ours = ({n: both[i] for n, both in shorter.items()} for i in (0, 1))
    lengths = set(usable(teacher, theirs, data, device())) & set(usable(student, ours, data, device()))
    less = {n: shorter[n] for n in sorted(lengths)}
    if less:
        log.info("%s: short texts at %s tokens", what, ", ".join(map(str, less)))
    goal = Trainable(teacher, device(), shorter={n: each for n, (each, _) in less.items()})
    model = Trainable(
        student, device(), tables=options.tables, shorter={n: each for n, (_, each) in less.items()}
    )
    loss = _Loss(goal, model, options, data.at(np.arange(min(_SEEN, len(data)))))
    graphs = (teacher, student, *(each for both in less.values() for each in both))
    optimise(model, loss, data, held, options, graphs=graphs, what=what, tell=tell, work=work)
    return model.as_graph()


def pairs(teacher: Graph, student: Graph, kinds: tuple[type[Op], ...]) -> list[Pair]:
    """The teacher's values of these kinds that depend on prompt and weights, with the student's of the same
    name, of several the last; of the teacher's the tokens that the student has left."""
    owners = Owners()
    named = {op.name: op for op in walk(student) if op.name and not isinstance(op, ops.Const)}
    found = [(op, named.get(op.name)) for op in walk(teacher) if isinstance(op, kinds) and owners.shared(op)]
    return [(op, other) for op, other in found if other is not None and thins(op.type, other.type)]


class _Loss:
    def __init__(self, goal: Trainable, model: Trainable, options: Distillation, seen: Examples) -> None:
        self.goal, self.model, self.options = goal, model, options
        self.states = pairs(goal.graph, model.graph, STATES)
        if options.hidden and not self.states:
            log.warning("no norm of the model keeps its name, so that answers alone are distilled")
        self.maps = pairs(goal.graph, model.graph, (ops.Softmax,)) if options.attention else []
        outputs = goal.graph.outputs.items()
        self.answers = [(op, model.graph.outputs[name]) for name, op in outputs if op.type.num == FLOAT]
        self.bounded = [*self.states, *pairs(goal.graph, model.graph, ACTIVATIONS)] if options.range else []
        every = [*self.states, *self.maps, *self.answers, *self.bounded]
        self.theirs = list(dict.fromkeys(op for op, _ in every))
        self.ours = list(dict.fromkeys(op for _, op in every))
        self.limits = self._limits(seen)

    def __call__(self, batch: Batch) -> torch.Tensor:
        with torch.no_grad():
            y = dict(zip(self.theirs, self.goal(batch.feeds, self.theirs), strict=True))
        x = dict(zip(self.ours, self.model(batch.feeds, self.ours), strict=True))
        weight = self.options

        def rows(pair: Pair) -> tuple[torch.Tensor, torch.Tensor]:
            ours = x[pair[1]]
            theirs = losses.left(y[pair[0]], ours.shape)
            return losses.counted(ours, batch.mask), losses.counted(theirs, batch.mask)

        parts = [
            weight.hidden * _mean([losses.relative(*rows(each)) for each in self.states]),
            weight.attention * _mean([losses.relative(*rows(each)) for each in self.maps]),
            weight.answers * _mean([self._answer(*rows(each)) for each in self.answers]),
            weight.range
            * _mean([losses.beyond(rows(each)[0], self.limits[each[0]]) for each in self.bounded]),
        ]
        if weight.labels and batch.labels is not None:
            (answer,) = self.answers
            parts.append(weight.labels * losses.hard_labels(x[answer[1]], batch.labels))
        return torch.stack([torch.as_tensor(each, device=self.model.device) for each in parts]).sum()

    def _answer(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        if self.options.target == "logits":
            return losses.soft_labels(x, y)
        return losses.relative(x, y) + losses.directions(x, y)

    def _limits(self, seen: Examples) -> dict[Op, float]:
        """How far a value of the student's may go, by that of the teacher's."""
        found = dict.fromkeys((op for op, _ in self.bounded), 0.0)
        for start in range(0, len(seen), self.options.batch):
            batch = seen.at(np.arange(start, min(start + self.options.batch, len(seen)))).on(self.goal.device)
            with torch.no_grad():
                values = self.goal(batch.feeds, list(found))
            for op, value in zip(found, values, strict=True):
                found[op] = max(found[op], float(losses.counted(value, batch.mask).abs().max()))
        return {op: max(ROOM * most, torch.finfo(torch.float32).tiny) for op, most in found.items()}


def _mean(parts: list[torch.Tensor]) -> torch.Tensor | float:
    return torch.stack(parts).mean() if parts else 0.0
