"""Just as many bits and knots as keep the outputs within a given error of the model's.

Two errors add up. That of the splines is seen in floating point, that of rounding only in integers; both are
measured on the calibration data. Where they are too large together, splines are fitted better if they alone
take more than their part, and otherwise more bits are kept: first of what products read, which is nearly all
that rounding does (`finer`).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cache
from itertools import takewhile
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ppc.frontend.ir import fixed, reference
from ppc.frontend.ir.graph import Graph
from ppc.passes.calibrate import Feeds
from ppc.passes.errors import RangeError
from ppc.passes.formats import Precision
from ppc.runtime.base.errors import Error

Array = NDArray[Any]
Outputs = list[dict[str, Array]]

FITS, ALL = 0.5, 0.55
"""Parts of the allowed error that the splines, and that both together, may take on the data at hand; the rest
is for inputs that are not among it."""

MOST = 8
"""Bits and halvings beyond the defaults; then something else is wrong."""

COARSEST = 3
"""How often functions' errors are doubled at most."""

USUAL_ERROR = 0.0125
"""What is allowed where nobody asks: at most 1 % of an output's spread was then found on other data."""

FEWEST, MOST_SAMPLES, VALUES = 3, 12, 100_000
"""Sets of inputs that errors are measured on: as many as give so many values of outputs, within these."""


class AccuracyError(Error, ValueError):
    """No precision reaches the error that was asked for; ``best`` is the finest that rings hold, where it is
    they that are in the way."""

    exit_status = 6

    def __init__(self, message: str, best: Precision | None = None) -> None:
        super().__init__(message)
        self.best = best


def accurate(
    graph: Graph,
    feeds: Sequence[Feeds],
    allowed: float,
    precision: Precision,
    approximated: Callable[[Precision], Graph],
    integers: Callable[[Precision], Graph],
    *,
    spare: bool = False,
) -> Precision:
    """The least precision, from ``precision`` on, that keeps every output within ``allowed`` of its own
    standard deviation on ``feeds``; with ``spare`` a coarser one where that does.

    ``approximated`` and ``integers`` are the pipeline up to the splines and up to fixed point. Raises
    AccuracyError where ``MOST`` more bits do not suffice.
    """
    feeds = _some(graph, feeds)
    exact = reference.evaluate_each(graph, feeds)

    def error(of: Callable[[Graph, Sequence[Feeds]], Outputs], made: Graph) -> float:
        return worst(exact, of(made, feeds))

    splines = cache(lambda fit: error(reference.evaluate_each, approximated(replace(precision, fit=fit))))

    def holds(tried: Precision) -> bool:
        return error(fixed.evaluate_each, integers(tried)) <= ALL * allowed

    fit, bits = precision.fit, 0
    held: Precision | None = None
    while True:
        tried = replace(finer(precision, bits), fit=fit)
        found = error(fixed.evaluate_each, _within(integers, tried, precision, allowed, held))
        held = tried
        if found <= ALL * allowed:
            return _spared(precision, holds) if spare and tried == precision else tried
        while splines(fit) > FITS * allowed:
            fit += _steps(splines(fit), FITS * allowed)
            if fit - precision.fit > MOST:
                raise AccuracyError(_message("splines", splines(fit), allowed))
        if fit == tried.fit:
            bits += _steps(found, ALL * allowed)
            if bits > MOST:
                raise AccuracyError(_message("rounding", found, allowed))


def _some(graph: Graph, feeds: Sequence[Feeds]) -> list[Feeds]:
    """From the first to the last, evenly: samples may be sorted."""
    values = sum(op.type.size for op in graph.outputs.values())
    count = min(len(feeds), MOST_SAMPLES, max(FEWEST, math.ceil(VALUES / values)))
    return [feeds[round(i)] for i in np.linspace(0, len(feeds) - 1, count)]


def _within(
    integers: Callable[[Precision], Graph],
    precision: Precision,
    start: Precision,
    allowed: float,
    held: Precision | None,
) -> Graph:
    """The graph in fixed point; AccuracyError where it is ``precision`` that its rings do not hold, as they
    do ``held``."""
    try:
        return integers(precision)
    except RangeError as fault:
        if precision == start:
            raise
        raise AccuracyError(
            f"{_out_of_reach(allowed)}: splines fitted {precision.fit - start.fit} halvings better and "
            f"{precision.value - start.value} more bits do not fit. {fault}; {_ALLOW}",
            held,
        ) from None


def finer(precision: Precision, bits: int) -> Precision:
    """``bits`` more of what products read and squares sum, and one less of all else that is rounded, which
    counts for little until then."""
    first = {name: getattr(precision, name) + bits for name in ("value", "gated", "square")}
    names = ("weight", "channel", "scalar", "spline")
    return replace(
        precision, **first, **{name: getattr(precision, name) + max(0, bits - 1) for name in names}
    )


def coarser(precision: Precision, times: int) -> Precision:
    """Less where bits cost most, which is where numbers meet one by one: in splines, and in products of two
    activations."""
    return replace(
        precision,
        fit=precision.fit - times,
        gated=precision.gated - 1 - times,
        spline=precision.spline - (times + 1) // 2,
    )


def _spared(precision: Precision, holds: Callable[[Precision], bool]) -> Precision:
    """The coarsest that holds, ``precision`` itself if no coarser does."""
    tried = (coarser(precision, times) for times in range(1, COARSEST + 1))
    return ([precision, *takewhile(holds, tried)])[-1]


def worst(exact: Outputs, found: Outputs) -> float:
    """The largest error of any output in units of that output's standard deviation."""
    most = 0.0
    for name in exact[0]:
        wanted, got = (np.stack([each[name] for each in some]).astype(np.float64) for some in (exact, found))
        spread = float(wanted.std())
        off = float(np.abs(got - wanted).max(initial=0.0))
        if off and not spread:
            continue  # an output that never varies has no measure of its own
        most = max(most, off / spread if spread else 0.0)
    return most


def _steps(found: float, wanted: float) -> int:
    return max(1, math.ceil(math.log2(found / wanted) - 0.25))


def _message(what: str, found: float, allowed: float) -> str:
    return f"{_out_of_reach(allowed)}: with {MOST} more bits {what} still cause {found:.2g}; {_ALLOW}"


def _out_of_reach(allowed: float) -> str:
    return f"an error of {allowed:.2g} of an output's standard deviation is out of reach"


_ALLOW = "allow more with --max-error"
