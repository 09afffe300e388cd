"""Several prompts in one inference: plans of an axis of prompts, and their answers one by one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from ..base.errors import BadInput
from ..plan.file import Plan
from ..session.inputs import prompts

Outputs: TypeAlias = Mapping[str, NDArray[Any]]


def grouped(
    plan: Plan, samples: Sequence[Mapping[str, NDArray[Any]]], source: str
) -> tuple[list[dict[str, NDArray[Any]]], bool, int]:
    """Inputs of one prompt or of several, regrouped as the plan takes them, the last prompt again where some
    are wanting; whether there are several prompts, and how many.

    Raises BadInput, naming sample and input, for what does not stand beside the first: an inference is of one
    length.
    """
    axes = {spec.name: len(spec.shape) for spec in plan.inputs}
    for i, each in enumerate(samples):
        if each.keys() != axes.keys():
            raise BadInput(
                f"{source}: samples[{i}] has {', '.join(each)}, and the inputs are {', '.join(axes)}"
            )
        for name, value in each.items():
            wanted = samples[0][name].shape[1:]
            if value.ndim != axes[name] or not len(value) or value.shape[1:] != wanted:
                raise BadInput(
                    f"{source}: {name!r} of samples[{i}] has shape {value.shape}; in an inference of several "
                    f"prompts each is (prompts, {', '.join(map(str, wanted))})"
                )
        if len({len(value) for value in each.values()}) > 1:
            counts = ", ".join(f"{len(value)} in {name!r}" for name, value in each.items())
            raise BadInput(f"{source}: samples[{i}] has not one number of prompts: {counts}")
    rows = {name: np.concatenate([each[name] for each in samples]) for name in axes}
    count, together = len(next(iter(rows.values()))), prompts(plan)
    places = np.minimum(np.arange(-(-count // together) * together), count - 1).reshape(-1, together)
    return [{name: x[some] for name, x in rows.items()} for some in places], count > 1, count


def of_first(plan: Plan, outputs: Outputs, count: int) -> Outputs:
    """The answers to the first ``count`` prompts; those to what has filled an inference up go."""
    return outputs if count >= prompts(plan) else {name: value[:count] for name, value in outputs.items()}


def apart(plan: Plan, outputs: Outputs) -> list[Outputs]:
    """Each prompt's answer, as a plan of one prompt gives it."""
    if prompts(plan) == 1:
        return [outputs]
    count = min(len(value) for value in outputs.values())
    return [{name: value[i : i + 1] for name, value in outputs.items()} for i in range(count)]
