"""A plan's fixed-point meaning beside ONNX Runtime's floats, tensor by tensor."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ppc.frontend.read.run import all_values
from ppc.runtime.plan.file import Plan, Weights
from ppc.runtime.session.inputs import fit
from ppc.runtime.session.simulate import simulate

Array = NDArray[Any]

MASKED = -5000.0
"""A float below stands for the minus infinity of a mask, of which a plan keeps only that it is far away."""


def error_by_layer(
    plan: Plan, weights: Weights, feeds: Mapping[str, Array], model: str | Path
) -> tuple[dict[str, Array], list[dict[str, Any]]]:
    """The plan's outputs, and a row for each of its steps that stands for a tensor of the model, in order.

    A row has the tensor's ``name``, the ``step``, the largest absolute error ``max_error``, and ``relative``:
    that error by the tensor's standard deviation in ONNX Runtime, both where the mask leaves anything to
    compare. Raises UsageError where ``feeds`` do not fit the model.
    """
    plan, feeds = fit(plan, feeds)
    values = simulate(plan, weights, feeds, keep=True)
    named = {step.name: i for i, step in enumerate(plan.steps) if step.name}  # of several steps, the last
    floats = all_values(model, feeds, list(named))
    rows = []
    for name, i in sorted(named.items(), key=lambda each: each[1]):
        if name in floats and floats[name].size == values[i].size:
            rows.append({"name": name, "step": plan.label(i), **_error(values[i], floats[name])})
    outputs = {o.name: values[o.value].reshape(o.shape) for o in plan.outputs}
    return outputs, rows


def _error(got: Array, expected: Array) -> dict[str, float]:
    wanted = expected.astype(np.float64).ravel()
    there = wanted > MASKED
    if not there.any():
        return {"max_error": 0.0, "relative": 0.0}
    error = float(np.abs(got.ravel() - wanted)[there].max())
    spread = float(wanted[there].std())
    return {"max_error": error, "relative": error / spread if spread else error}
