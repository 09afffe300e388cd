"""The plan's integer meaning in the clear, for several samples at once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..plan.file import Plan, Weights
from ..plan.local import run_local
from ..plan.steps import Plain, Step
from .executor import Values
from .inputs import check_inputs, fit

Floats = NDArray[np.float64]

AT_ONCE = 16
"""Samples that are walked together: enough to share what weights cost, few enough for the caches."""


def simulate(
    plan: Plan, weights: Weights, feeds: Mapping[str, ArrayLike], keep: bool = False
) -> dict[int, Floats]:
    """The outputs by step, or with ``keep`` every value, decoded; of one sample."""
    return {i: value[0] for i, value in simulate_all(plan, weights, [feeds], keep).items()}


def simulate_all(
    plan: Plan, weights: Weights, samples: Sequence[Mapping[str, ArrayLike]], keep: bool = False
) -> dict[int, Floats]:
    """The same of several samples, (samples, *shape) each.

    Raises BadInput for inputs that do not fit the plan, RangeFault for a value beyond its ring where that is
    seen.
    """
    local = [run_local(plan.local, check_inputs(plan, feeds)) for feeds in samples]
    steps: Sequence[Step] = plan.steps
    values: Values[Plain] = Values(plan)
    found: dict[int, Floats] = {}
    for i, step in enumerate(steps):
        own = [np.stack([each[j] for each in local]) for j in step.locals()]
        tensors = [weights[name] for name in step.weights()]
        num, shape = plan.forms[i].num, plan.forms[i].shape
        value = num.signed(num.wrap(step.clear(*values.read(i), *tensors, *own)))
        values.put(i, Plain(num, value))
        if keep or step.reveals():
            decoded = value.astype(np.float64) * 2.0**-num.scale
            found[i] = np.broadcast_to(decoded, (len(samples), *shape))
    return found


def simulate_samples(
    plan: Plan, weights: Weights, samples: Sequence[Mapping[str, ArrayLike]]
) -> list[dict[str, Floats]]:
    """The outputs by name of each sample, at the shortest length that holds it."""
    found: list[dict[str, Floats]] = [{} for _ in samples]
    fitted = [fit(plan, {name: np.asarray(value) for name, value in feeds.items()}) for feeds in samples]
    for length in plan.lengths:
        of_length = [i for i, (chosen, _) in enumerate(fitted) if chosen is length]
        for first in range(0, len(of_length), AT_ONCE):
            some = of_length[first : first + AT_ONCE]
            values = simulate_all(length, weights, [fitted[i][1] for i in some])
            for at, i in enumerate(some):
                found[i] = {o.name: values[o.value][at].reshape(o.shape) for o in length.outputs}
    return found
