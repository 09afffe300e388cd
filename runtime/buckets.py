"""Which of a plan's lengths an input runs at, and the padding up to it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .errors import BadInput
from .plan import InputSpec, Plan

Array = NDArray[Any]


def fit(plan: Plan, feeds: Mapping[str, Array]) -> tuple[Plan, dict[str, Array]]:
    """The shortest of the plan's lengths that holds ``feeds``, and the feeds padded to it with zeros.

    Only axes in which the lengths differ are padded, and only where one of the inputs is a mask, whose
    zeros make the model ignore the rest. A plan of one length takes what is given as it is.

    Raises BadInput, naming the input and the lengths, where no length fits.
    """
    if not plan.shorter:
        return plan, dict(feeds)
    masked = any("mask" in spec.name for spec in plan.inputs)
    for each in plan.lengths:
        if all(_fits(spec, plan, feeds.get(spec.name), masked) for spec in each.inputs):
            specs = {spec.name: spec for spec in each.inputs}
            return each, {n: _padded(x, specs[n].shape) if n in specs else x for n, x in feeds.items()}
    held = ", ".join(str(each.inputs[0].shape) for each in plan.lengths)
    given = ", ".join(f"{name!r} of shape {np.shape(value)}" for name, value in feeds.items())
    exactly = "" if masked else "; the model has no mask, so its inputs must have exactly one of these"
    raise BadInput(f"no length of this plan holds {given}; its lengths take {held}{exactly}")


def _fits(spec: InputSpec, plan: Plan, value: Array | None, masked: bool) -> bool:
    if value is None:  # named as missing when inputs are checked
        return True
    if value.ndim != len(spec.shape):
        return False
    longest = next(each.shape for each in plan.inputs if each.name == spec.name)
    shortest = next(each.shape for each in plan.shorter[0].inputs if each.name == spec.name)
    return all(
        given == held or (masked and given < held and high != low)
        for given, held, high, low in zip(value.shape, spec.shape, longest, shortest, strict=True)
    )


def _padded(x: Array, shape: tuple[int, ...]) -> Array:
    return np.pad(x, [(0, held - given) for given, held in zip(x.shape, shape, strict=True)])
