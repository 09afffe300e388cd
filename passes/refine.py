"""Finer splines where a model needs them: the same functions fitted again to a part of their usual error.

A knot more is a comparison more on every element, so the default fits stop where most models stop noticing;
the error falls with the third power of the knots.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from ppc.frontend.ir import ops
from ppc.frontend.ir.graph import Graph, Op, rebuild
from ppc.frontend.ir.spline import SplineSpec
from ppc.passes import functions
from ppc.passes.quantise import RELATIVE
from ppc.passes.spline_fit import FitError

Refit = Callable[[SplineSpec, float], SplineSpec]

REFITS: dict[str, tuple[float, Refit]] = {
    "gelu": (functions.GELU_ERROR, lambda spec, e: functions.gelu(e)),
    "gelu_tanh": (functions.GELU_ERROR, lambda spec, e: functions.gelu(e, "tanh")),
    "silu": (functions.SILU_ERROR, lambda spec, e: functions.silu(e)),
    "exp": (functions.EXP_ERROR, lambda spec, e: functions.exp(e)),
    "sigmoid": (functions.BOUNDED_ERROR, lambda spec, e: functions.sigmoid(e)),
    "tanh": (functions.BOUNDED_ERROR, lambda spec, e: functions.tanh(e)),
    "erf": (functions.BOUNDED_ERROR, lambda spec, e: functions.erf(e)),
    "reciprocal": (functions.RELATIVE_ERROR, lambda spec, e: functions.reciprocal(*spec.domain, e)),
    "rsqrt": (functions.RSQRT_ERROR, lambda spec, e: functions.rsqrt(*spec.domain, e)),
    "sqrt": (functions.RELATIVE_ERROR, lambda spec, e: functions.sqrt(*spec.domain, e)),
}
"""Of each fitted function its usual error, and how it is fitted to another. ReLU and clip are exact."""

WIDE = frozenset(REFITS) - RELATIVE
"""Those of large tensors, of which a knot is worth saving."""


def refine(graph: Graph, halvings: int) -> Graph:
    """The graph with every fit's error halved that often, or as often as its knots' grid allows, or doubled
    as often where ``halvings`` is negative."""
    if not halvings:
        return graph

    def step(op: Op) -> Op:
        if not isinstance(op, ops.Spline) or op.spline.function not in REFITS:
            return op
        return replace(op, spline=finer(op.spline, halvings))

    return rebuild(graph, step)


def finer(spec: SplineSpec, halvings: int) -> SplineSpec:
    """``spec``'s function with its usual error halved that often, or as often as can be."""
    usual, refit = REFITS[spec.function]
    if halvings < 0:
        return refit(spec, usual * 2.0**-halvings) if spec.function in WIDE else spec
    for times in range(halvings, 0, -1):
        try:
            return refit(spec, usual * 2.0**-times)
        except FitError:
            continue
    return spec
