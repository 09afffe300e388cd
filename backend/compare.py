"""A plan's fixed-point meaning beside ONNX Runtime's floats, tensor by tensor."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, TypedDict

import numpy as np
from numpy.typing import NDArray

from ppc.frontend.errors import UsageError
from ppc.frontend.read.run import all_values
from ppc.runtime.plan.file import Plan, Weights
from ppc.runtime.session.inputs import fit, naming
from ppc.runtime.session.simulate import Simulated, Simulator

Array = NDArray[Any]

MASKED = -5000.0
"""A float below stands for the minus infinity of a mask, of which a plan keeps only that it is far away."""


class LayerError(TypedDict):
    """The largest absolute error of a tensor, and that by its standard deviation in ONNX Runtime."""

    name: str
    step: str
    max_error: float
    relative: float


def error_by_layer(
    plan: Plan, weights: Weights, samples: Sequence[Mapping[str, Array]], model: str | Path
) -> tuple[list[Simulated], list[LayerError]]:
    """Each sample simulated, and a row for each step that stands for a tensor of the model, in order.

    A sample that leaves a ring goes on (`Simulated.wraps`). Errors are those where the mask leaves anything
    to compare, and the worst of all samples. Raises UsageError where ``samples`` do not fit the model, or it
    has none of the plan's tensors.
    """
    simulator = Simulator(plan, weights)
    simulated, rows = [], dict[str, LayerError]()
    for at, feeds in enumerate(samples):
        with naming(at, len(samples)):
            length, fitted = fit(plan, feeds)
            (found,) = simulator.run([fitted], keep=True, wrapping=True)
        named = {s.name: i for i, s in enumerate(length.steps) if s.name}  # of several steps, the last
        floats = all_values(model, fitted, [*named, *found.outputs])
        if not floats:
            raise UsageError(f"{model} makes nothing that the plan does; that was compiled from {plan.model}")
        for name, i in sorted(named.items(), key=lambda each: each[1]):
            if name in floats and floats[name].size == found.values[i].size:
                error, relative = _error(found.values[i], floats[name])
                unseen: LayerError = {
                    "name": name, "step": length.label(i), "max_error": 0.0, "relative": 0.0,
                }  # fmt: skip
                row = rows.setdefault(name, unseen)
                row["max_error"] = max(error, row["max_error"])
                row["relative"] = max(relative, row["relative"])
        kept = {i: found.values[i] for i, step in enumerate(length.steps) if step.reveals()}
        simulated.append(replace(found, values=kept))
    return simulated, list(rows.values())


def _error(got: Array, expected: Array) -> tuple[float, float]:
    wanted = expected.astype(np.float64).ravel()
    there = wanted > MASKED
    if not there.any():
        return 0.0, 0.0
    error = float(np.abs(got.ravel() - wanted)[there].max())
    spread = float(wanted[there].std())
    return error, error / spread if spread else error
