"""Move a graph's weights downhill: AdamW, a warm-up, a cosine, and a rate that is found by trying."""

from __future__ import annotations

import hashlib
import logging
import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch

from ppc.frontend.ir.graph import Graph, walk
from ppc.frontend.ir.ops import Const
from ppc.frontend.ir.text import show
from ppc.passes.train import checkpoint
from ppc.passes.train.examples import Batch, Examples, places
from ppc.passes.train.trainable import Trainable
from ppc.runtime.base.errors import Error

log = logging.getLogger(__name__)

RATES = (5e-5, 1e-4, 2e-4, 5e-4, 1e-3)
"""Tried from the least on, until one is worse than that before it."""

_PROBE = (10, 40)
"""Steps of a try: a tenth of the whole, within these."""

_KEEP = 50
"""Steps after which a run is kept for later."""

_PASSED = 10
"""Batches one after the other that may be passed over because they come to no numbers: where nothing divides
by a sum, a student that is not tuned yet can outgrow single precision on a text in a thousand."""

Loss = Callable[[Batch], torch.Tensor]
Tell = Callable[[str, int, int], None]
"""What is being done, how much of it is, and how much there is."""


class Diverged(Error, ValueError):
    """Training that came to no numbers."""

    exit_status = 6


@dataclass(frozen=True)
class Options:
    """``steps`` of ``batch`` samples each. ``rate``: the largest learning rate, found where None.

    ``warmup`` is the part of the steps in which it rises, ``clip`` the gradient's largest norm, ``decay``
    what AdamW takes off matrices; with ``tables`` those of ids are trained too, with ``half`` products are
    of bfloat16 (weights stay in single precision). The same options, data and graph give the same weights on
    one machine.
    """

    steps: int = 300
    batch: int = 32
    rate: float | None = None
    seed: int = 0
    warmup: float = 0.1
    clip: float = 1.0
    decay: float = 0.01
    tables: bool = False
    half: bool = False


def silent(what: str, done: int, total: int) -> None:
    pass


def optimise(
    model: Trainable,
    loss: Loss,
    data: Examples,
    held: Examples,
    options: Options,
    *,
    graphs: Sequence[Graph],
    what: str = "tuning",
    tell: Tell = silent,
    work: Path | None = None,
) -> float:
    """Move ``model``'s weights so that ``loss`` falls on ``data``; the rate they were moved at.

    A rate is chosen by the loss on ``held``. In the folder ``work`` a file of the run's own says how far it
    came, so that the same call goes on there, to the same bits on one machine; ``graphs`` are what the loss
    is made of, the one that is trained among them. Raises Diverged.
    """
    tensors = list(model.weights.values())
    run = _Run(model, loss, data, options)
    kept = None if work is None else work / f"{_digest(graphs, data, held, options)}{checkpoint.SUFFIX}"
    optimiser, step = run.optimiser(), 0
    if kept is not None and kept.exists():
        step, rate = checkpoint.restore(kept, tensors, optimiser)
    else:
        rate = options.rate or _found(run, held, tell, what)
        log.info("%s: learning rate %g", what, rate)
    passed = 0
    while step < options.steps:
        value = run.step(optimiser, step, rate * _schedule(step, options))
        step += 1
        passed = 0 if math.isfinite(value) else passed + 1
        if passed == min(_PASSED, options.steps):
            raise Diverged(
                f"{what}: the loss is {value} at step {step} of {options.steps}, and was no number at the "
                f"{passed - 1} before, learning rate {rate:g}; give a smaller rate"
            )
        tell(what, step, options.steps)
        if kept is not None and (step % _KEEP == 0 or step == options.steps):
            checkpoint.keep(kept, tensors, optimiser, step, rate)
    return rate


@dataclass(frozen=True)
class _Run:
    model: Trainable
    loss: Loss
    data: Examples
    options: Options

    def optimiser(self) -> torch.optim.Optimizer:
        weights = self.model.weights.values()
        groups = [
            {"params": [x for x in weights if x.ndim >= 2], "weight_decay": self.options.decay},
            {"params": [x for x in weights if x.ndim < 2], "weight_decay": 0.0},
        ]
        return torch.optim.AdamW([each for each in groups if each["params"]], fused=True)

    def step(self, optimiser: torch.optim.Optimizer, step: int, rate: float) -> float:
        """One batch; its loss before, which is no number where nothing was moved."""
        tokens = self.data.tokens if self.model.lengths else None
        at = places(len(self.data), self.options.batch, step, self.options.seed, tokens)
        for group in optimiser.param_groups:
            group["lr"] = rate
        optimiser.zero_grad(set_to_none=True)
        value = self.of(self.data.at(at))
        value.backward()
        size = torch.nn.utils.clip_grad_norm_(self.model.weights.values(), self.options.clip)
        if not torch.isfinite(value.detach() + size):
            return math.nan
        optimiser.step()
        return float(value.detach())

    def of(self, examples: Examples) -> torch.Tensor:
        """The loss on some examples."""
        device = self.model.device
        with torch.autocast(device.type, torch.bfloat16, enabled=self.options.half):
            return self.loss(self.model.cut(examples).on(device))

    def middle(self, data: Examples) -> float:
        """The median of the losses of ``data``'s batches, of which some may come to no number."""
        batch, found = self.options.batch, []
        with torch.no_grad():
            for start in range(0, len(data), batch):
                part = np.arange(start, min(start + batch, len(data)))
                found.append(float(self.of(data.at(part))))
        return float(np.median(np.nan_to_num(found, nan=math.inf, posinf=math.inf)))


def _schedule(step: int, options: Options) -> float:
    """The part of the rate at a step: up in a line, down in half a cosine."""
    rise = max(1, round(options.warmup * options.steps))
    if step < rise:
        return (step + 1) / rise
    return 0.5 * (1 + math.cos(math.pi * (step - rise) / max(1, options.steps - rise)))


def _found(run: _Run, held: Examples, tell: Tell, what: str) -> float:
    """The rate of `RATES` that a few steps from here show to be best on ``held``; the weights stay."""
    tensors = list(run.model.weights.values())
    start = [x.detach().clone() for x in tensors]
    count = min(max(run.options.steps // 10, _PROBE[0]), _PROBE[1])
    best, least = RATES[0], math.inf
    for i, rate in enumerate(RATES):
        optimiser = run.optimiser()
        for step in range(count):
            run.step(optimiser, step, rate * min(1.0, (step + 1) / 5))
        value = run.middle(held)
        _assign(tensors, start)
        tell(f"{what}: rates", i + 1, len(RATES))
        if not value < least:
            break
        best, least = rate, value
    tell(f"{what}: rates", len(RATES), len(RATES))
    return best


def _assign(tensors: list[torch.Tensor], values: list[torch.Tensor]) -> None:
    with torch.no_grad():
        for x, value in zip(tensors, values, strict=True):
            x.copy_(value)


def _digest(graphs: Sequence[Graph], data: Examples, held: Examples, options: Options) -> str:
    """Of what a run begins with: one that begins otherwise has a file of its own."""
    found = hashlib.sha256(repr(sorted(asdict(options).items())).encode())
    for graph in graphs:
        found.update(show(graph).encode())
        for op in walk(graph):
            found.update(np.ascontiguousarray(op.value).tobytes() if isinstance(op, Const) else b"")
    for part in (data, held):
        for name, value in sorted(part.feeds.items()):
            found.update(name.encode() + np.ascontiguousarray(value).tobytes())
        for known in (part.labels, part.mask):
            found.update(b"" if known is None else np.ascontiguousarray(known).tobytes())
    return found.hexdigest()[:16]
