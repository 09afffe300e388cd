"""Which token follows: the largest number, or one that is drawn (top-k, and top-p of Holtzman et al.,
arXiv 1904.09751), by the client alone."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field

import numpy as np

from ..base.errors import BadInput
from ..base.prg import SEED_BYTES, Prg
from ..plan.file import Outputs, Plan

_BITS = 53
"""Of a number that is drawn."""


@dataclass
class Sampler:
    """
    Attributes:
        temperature: what the numbers are divided by; 0 takes the largest.
        top_k: of so many largest alone; 0 of all.
        top_p: of the fewest that have so much of the probability together.
        seed: the same draws again; None draws others each time.
    """

    temperature: float = 0.0
    top_k: int = 0
    top_p: float = 1.0
    seed: int | None = None
    _prg: Prg = field(init=False, repr=False)

    def __post_init__(self) -> None:
        if not self.temperature >= 0 or not 0 < self.top_p <= 1 or self.top_k < 0:
            raise BadInput(
                f"a temperature of {self.temperature}, top-k {self.top_k} and top-p {self.top_p}: the first "
                "two are at least 0, and top-p lies in (0, 1]"
            )
        seed = None if self.seed is None else hashlib.sha256(str(self.seed).encode()).digest()[:SEED_BYTES]
        self._prg = Prg(seed)

    def check(self, plan: Plan) -> None:
        """Raises BadInput for a plan whose outputs it cannot draw from."""
        if self.temperature and any(plan.choices(out) is not None for out in plan.outputs):
            raise BadInput(
                "the plan reveals the likeliest token alone, so that there is nothing to draw from"
            )

    def __call__(self, outputs: Outputs) -> int:
        """The token, of the one output: numbers of all of them, or the place of the largest."""
        (told,) = outputs.values()
        if told.dtype.kind == "i" and told.size == 1:
            return int(told.reshape(()))
        numbers = told.reshape(-1)
        if not self.temperature:
            return int(numbers.argmax())
        order = np.argsort(-numbers, kind="stable")[: self.top_k or None]
        scaled = (numbers[order] - numbers[order[0]]) / self.temperature
        chances = np.exp(scaled) / np.exp(scaled).sum()
        kept = 1 + int(np.searchsorted(np.cumsum(chances), self.top_p))
        drawn = float(self._prg.ring(_BITS, (1,))[0]) * 2.0**-_BITS * chances[:kept].sum()
        return int(order[min(kept - 1, int(np.searchsorted(np.cumsum(chances[:kept]), drawn, side="right")))])
