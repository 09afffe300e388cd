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
from ppc.runtime.session.executor import Progress
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


class Agreement(TypedDict):
    """Of an output that is told by the place of its largest number alone: how many places there were in all
    samples, and how many of them were ONNX Runtime's."""

    name: str
    compared: int
    same: int


def error_by_layer(
    plan: Plan,
    weights: Weights,
    samples: Sequence[Mapping[str, Array]],
    model: str | Path,
    progress: Progress | None = None,
) -> tuple[list[Simulated], list[LayerError], list[Agreement]]:
    """Each sample simulated; a row for each step that stands for a tensor of the model, in order; and one for
    each output that is told by a place alone.

    A sample that leaves a ring goes on (`Simulated.wraps`). Errors are those where the mask leaves anything
    to compare, and the worst of all samples. Raises UsageError where ``samples`` do not fit the model, or it
    has none of the plan's tensors.
    """
    simulator = Simulator(plan, weights)
    simulated, rows, places = [], dict[str, LayerError](), dict[str, Agreement]()
    for at, feeds in enumerate(samples):
        with naming(at, len(samples)):
            length, fitted = fit(plan, feeds)
            (found,) = simulator.run([fitted], keep=True, wrapping=True)
        named = [(i, step.name) for i, step in enumerate(length.steps) if step.name]
        floats = all_values(model, fitted, [*(name for _, name in named), *found.outputs])
        if not floats:
            raise UsageError(f"{model} makes nothing that the plan does; that was compiled from {plan.model}")
        sized = [(n, i) for i, n in named if n in floats and floats[n].size == found.values[i].size]
        for name, i in dict(sized).items():  # of several steps the last, in the place of the first
            error, relative = _error(found.values[i], floats[name])
            unseen: LayerError = {
                "name": name, "step": length.label(i), "max_error": 0.0, "relative": 0.0,
            }  # fmt: skip
            row = rows.setdefault(name, unseen)
            row["max_error"] = max(error, row["max_error"])
            row["relative"] = max(relative, row["relative"])
        for out in length.outputs:
            if length.choices(out) is not None and out.name in floats:
                none: Agreement = {"name": out.name, "compared": 0, "same": 0}
                place = places.setdefault(out.name, none)
                same = found.outputs[out.name].ravel() == floats[out.name].argmax(axis=-1).ravel()
                place["compared"] += same.size
                place["same"] += int(same.sum())
        if progress:
            progress("compared", at + 1, len(samples))
        kept = {i: found.values[i] for i, step in enumerate(length.steps) if step.reveals()}
        simulated.append(replace(found, values=kept))
    return simulated, list(rows.values()), list(places.values())


def _error(got: Array, expected: Array) -> tuple[float, float]:
    wanted = expected.astype(np.float64).ravel()
    there = wanted > MASKED
    if not there.any():
        return 0.0, 0.0
    error = float(np.abs(got.ravel() - wanted)[there].max())
    spread = float(wanted[there].std())
    return error, error / spread if spread else error
