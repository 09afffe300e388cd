"""What a substitution is: a function that is cheap on shares in place of one that is not, with constants."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ppc.frontend.ir import ops
from ppc.frontend.ir.graph import Op

Floats = NDArray[np.float64]
Settings = Mapping[str, float | bool]
Constants = Mapping[str, Floats]
"""What was fitted, by the letter it has in the formula."""

LEAST = 1e-12
"""What is no larger is taken for nothing."""


@dataclass(frozen=True)
class Samples:
    """The calibration data of one op: ``x`` its operand as the rebuilt model has it, ``y`` its result in the
    original one; one array for each set of inputs."""

    x: list[Floats]
    y: list[Floats]

    def rows(self) -> tuple[Floats, Floats]:
        """Both as one matrix of rows."""
        x, y = (np.concatenate([v.reshape(-1, v.shape[-1]) for v in side]) for side in (self.x, self.y))
        return x, y


@dataclass(frozen=True, eq=False)
class Substitution:
    """``build(op, constants, settings)`` computes ``formula`` where the model has ``replaces``, with the
    constants that ``fit(op, samples, settings)`` found, at this length of sequence or another.

    ``max_error`` is the largest difference on ``domain``, infinite where there is no bound; ``settings``
    are what a profile may set, with their defaults.
    """

    op: type[Op]
    name: str
    fit: Callable[[Any, Samples, Settings], Constants]
    build: Callable[[Any, Constants, Settings], Op]
    replaces: str
    formula: str
    domain: str
    max_error: float
    cost: str
    settings: Settings = field(default_factory=dict)

    @property
    def difference(self) -> str:
        bound = "" if math.isinf(self.max_error) else f", by {self.max_error:g} at most"
        return f"changes the function{bound}"


def secret(value: Floats | float, name: str = "") -> ops.Const:
    """A constant of the server's."""
    return ops.Const(np.asarray(value, np.float32), secret=True, name=name)
