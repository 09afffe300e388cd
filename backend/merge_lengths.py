"""Plans of one model at several lengths as one, on one set of weights."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import numpy as np

from ppc.runtime.plan.file import Plan, Weights
from ppc.runtime.plan.steps import AnyStep, Linear, Scaled, Weight


def merge_lengths(compiled: Sequence[tuple[Plan, Weights]]) -> tuple[Plan, Weights]:
    """The longest plan, with the shorter ones inside; tensors that are equal are kept once.

    Args:
        compiled: plans with their weights, by ascending length.
    """
    kept: Weights = {}
    plans = []
    for plan, weights in compiled:
        names = {name: _keep(kept, name, w) for name, w in weights.items()}
        plans.append(renamed(plan, names))
    return msgspec.structs.replace(plans[-1], shorter=tuple(plans[:-1])), kept


def _keep(kept: Weights, name: str, w: np.ndarray) -> str:
    """The name under which an equal tensor is kept already, or a new one."""
    taken, n = name, 1
    while taken in kept:
        if kept[taken].shape == w.shape and np.array_equal(kept[taken], w):
            return taken
        n += 1
        taken = f"{name}#{n}"
    kept[taken] = w
    return taken


def renamed(plan: Plan, names: dict[str, str]) -> Plan:
    """``plan`` with its weights under other names."""
    if all(old == new for old, new in names.items()):
        return plan
    steps = tuple(_step(step, names) for step in plan.steps)
    weights = tuple(msgspec.structs.replace(w, name=names[w.name]) for w in plan.weights)
    return msgspec.structs.replace(plan, steps=steps, weights=weights)


def _step(step: AnyStep, names: dict[str, str]) -> AnyStep:
    match step:
        case Linear() | Scaled() | Weight():
            return msgspec.structs.replace(step, weight=names[step.weight])
    return step
