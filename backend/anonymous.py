"""A plan that tells no name of the model's: its own, and those of tensors, of which each goes by a number."""

from __future__ import annotations

import msgspec

from ppc.backend.merge_lengths import renamed
from ppc.runtime.plan.file import Plan, Weights, all_weights
from ppc.runtime.plan.steps import Output

MODEL = "a model"


def anonymous(plan: Plan, weights: Weights) -> tuple[Plan, Weights]:
    """``plan`` and ``weights`` without these names; those of inputs and outputs the client needs."""
    names = {spec.name: f"w{i}" for i, spec in enumerate(all_weights(plan))}
    parts = [_without(each, names) for each in plan.lengths]
    return (
        msgspec.structs.replace(parts[-1], shorter=tuple(parts[:-1])),
        {names[name]: each for name, each in weights.items()},
    )


def _without(plan: Plan, names: dict[str, str]) -> Plan:
    numbered = tuple(
        msgspec.structs.replace(step, name=f"t{i}") if step.name and not isinstance(step, Output) else step
        for i, step in enumerate(renamed(plan, names).steps)
    )
    return msgspec.structs.replace(renamed(plan, names), model=MODEL, steps=numbered, shorter=())
