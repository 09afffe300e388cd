"""Several prompts in one inference: plans of an axis of prompts, and their answers one by one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeAlias

from numpy.typing import NDArray

from ..plan.file import Plan

Outputs: TypeAlias = Mapping[str, NDArray[Any]]


def prompts(plan: Plan) -> int:
    """How many one inference answers: the first axis of every input and output, where that is the same."""
    inputs = {spec.shape[0] if len(spec.shape) > 1 else 1 for spec in plan.inputs}
    outputs = {spec.shape[0] if spec.shape else 1 for spec in plan.outputs}
    return inputs.pop() if len(inputs | outputs) == 1 else 1


def of_first(plan: Plan, outputs: Outputs, count: int) -> Outputs:
    """The answers to the first ``count`` prompts; those to what has filled an inference up go."""
    return outputs if count >= prompts(plan) else {name: value[:count] for name, value in outputs.items()}


def apart(plan: Plan, outputs: Outputs) -> list[Outputs]:
    """Each prompt's answer, as a plan of one prompt gives it."""
    if prompts(plan) == 1:
        return [outputs]
    count = min(len(value) for value in outputs.values())
    return [{name: value[i : i + 1] for name, value in outputs.items()} for i in range(count)]
