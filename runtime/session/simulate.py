"""The plan's integer meaning in the clear."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..plan.file import Plan, Weights
from ..plan.local import run_local
from ..plan.steps import Output
from .executor import Run
from .inputs import check_inputs

Array = NDArray[Any]


def simulate(
    plan: Plan, weights: Weights, feeds: Mapping[str, Array], keep: bool = False
) -> dict[int, Array]:
    """The plan's integer meaning in the clear: outputs by step, or with ``keep`` every value, decoded."""
    run = Run(plan, weights, run_local(plan.local, check_inputs(plan, feeds)))
    values: dict[int, Array] = {}
    for i, step in enumerate(plan.steps):
        num = run.forms[i].num
        value = num.signed(num.wrap(step.clear(run)))
        run.put(i, value)
        if keep or isinstance(step, Output):
            values[i] = value.astype(np.float64) * 2.0**-num.scale
    return values
