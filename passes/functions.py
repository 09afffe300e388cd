"""The functions that transformers need as piecewise quadratics: which, where, how exact, how many knots.

Each is fitted when it is asked for: functions with tails by least squares, those of one value a row, which
are right in proportion, by least maximal error. ``docs/functions.md`` tabulates the default ones. A knot
costs a comparison on every element, so the defaults of the functions on large tensors (GELU, exp) stop at
the error from which a model's output no longer changes visibly, and those on one value a row are exact to
5e-4.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from typing import Literal

import numpy as np

from ppc.frontend.ir.spline import SplineSpec
from ppc.passes.least_squares import least_squares
from ppc.passes.ranges import SLACK
from ppc.passes.spline_fit import FitError, Function, Piece, fit
from ppc.runtime.base import function
from ppc.runtime.base.function import Plain
from ppc.runtime.base.meaning import MEANING
from ppc.runtime.base.namespace import NUMPY

ZERO: Piece = (0.0, 0.0, 0.0)
ONE: Piece = (1.0, 0.0, 0.0)
LINE: Piece = (0.0, 1.0, 0.0)

GELU_ERROR = 1.4e-3
SILU_ERROR = 2e-3
EXP_ERROR = 1.6e-3
BOUNDED_ERROR = 1.2e-3
"""√∫(s − f)² over all x; the root mean square between the tails is a third of that or less."""

RELATIVE_ERROR = 5e-4
RSQRT_ERROR = 1.25e-4
"""One value a row, by which the whole row is multiplied."""


def exact(of: function.Function) -> Function:
    """As the oracle computes it."""
    return partial(MEANING[of.key], NUMPY, of)


NEAR = 2.0**-5
"""How far beyond 0 a ReLU may be wrong that has an even function beside it: of that one's first piece a part
over which its error at most doubles."""

_ALL = (-math.inf, math.inf)


def relu() -> SplineSpec:
    """max(x, 0), exactly: one comparison and one gate."""
    return SplineSpec(
        knots=(0.0,), pieces=(ZERO, ZERO), gates=((0, 1.0),), domain=_ALL, max_error=0.0, function="relu"
    )


def relu_beside() -> SplineSpec:
    """The max(x, 0) in f(x) = max(x, 0) + h(|x|), where h is even and |x| = 2·max(x, 0) − x.

    Where a small x > 0 is taken for 0, |x| is −x, and what is left is h(−x): the first piece of h, continued,
    which still is f(x). So the comparison may be coarse.
    """
    return replace(relu(), max_error=2 * NEAR)


def clip(lo: float | None, hi: float | None) -> SplineSpec:
    """min(max(x, lo), hi), exactly; an end may be missing, not both."""
    if (lo is None and hi is None) or (lo is not None and hi is not None and not lo < hi):
        raise ValueError(f"clip to [{lo}, {hi}]")
    knots, gates = [], []
    pieces = [ZERO if lo is not None else LINE]
    if lo is not None:
        pieces = [(lo, 0.0, 0.0), ZERO]
        knots, gates = [lo], [(0, 1.0)]
    if hi is not None:
        pieces.append((hi, 0.0, 0.0))
        gates += [(len(knots), -1.0)] if lo is not None else []
        knots.append(hi)
    return SplineSpec(
        knots=tuple(knots),
        pieces=tuple(pieces),
        gates=tuple(gates),
        domain=_ALL,
        max_error=0.0,
        function="clip",
    )


@lru_cache
def gelu(error: float = GELU_ERROR, approx: Literal["none", "tanh"] = "none") -> SplineSpec:
    """x·Φ(x) − max(x, 0), or its tanh form, as a function of |x|."""
    name = "gelu" if approx == "none" else "gelu_tanh"
    return _beside_relu(exact(function.Gelu(approx)), 8.0, error, name)


@lru_cache
def silu(error: float = SILU_ERROR) -> SplineSpec:
    """x·sigmoid(x) − max(x, 0) as a function of |x|."""
    return _beside_relu(exact(Plain("Silu")), 20.0, error, "silu")


@lru_cache
def sigmoid(error: float = BOUNDED_ERROR) -> SplineSpec:
    """1/(1+e^−x): 0 and 1 outside the first and the last knot."""
    return _between(exact(Plain("Sigmoid")), 20.0, error, "sigmoid", left=ZERO, right=ONE)


@lru_cache
def tanh(error: float = BOUNDED_ERROR) -> SplineSpec:
    """tanh x: −1 and 1 outside the first and the last knot."""
    return _between(exact(Plain("Tanh")), 10.0, error, "tanh", left=(-1.0, 0.0, 0.0), right=ONE)


@lru_cache
def erf(error: float = BOUNDED_ERROR) -> SplineSpec:
    """erf x: −1 and 1 outside the first and the last knot."""
    return _between(exact(Plain("Erf")), 6.0, error, "erf", left=(-1.0, 0.0, 0.0), right=ONE)


@lru_cache
def exp(error: float = EXP_ERROR) -> SplineSpec:
    """e^x for x ≤ 1/4, as softmax needs it: 0 below the first knot."""
    start = exp_reach(error)
    return _coarse(exact(Plain("Exp")), start, SLACK, error, "exp", left=ZERO, domain=(start - 16.0, SLACK))


def exp_reach(error: float = EXP_ERROR) -> float:
    """From where down e^x is 0 at the latest: what it is there is a seventh of the error."""
    return -math.ceil(2 - math.log(error))


@lru_cache
def reciprocal(lo: float, hi: float, max_error: float = RELATIVE_ERROR) -> SplineSpec:
    """1/x on [lo, hi], lo > 0, relative error."""
    return _on_positives(exact(Plain("Reciprocal")), lo, hi, max_error, "reciprocal")


@lru_cache
def rsqrt(lo: float, hi: float, max_error: float = RSQRT_ERROR) -> SplineSpec:
    """1/√x on [lo, hi], lo > 0, relative error."""
    return _on_positives(lambda x: 1 / np.sqrt(x), lo, hi, max_error, "rsqrt")


@lru_cache
def sqrt(lo: float, hi: float, max_error: float = RELATIVE_ERROR) -> SplineSpec:
    """√x on [lo, hi], lo > 0, relative error."""
    return _on_positives(exact(Plain("Sqrt")), lo, hi, max_error, "sqrt")


def _on_positives(f: Function, lo: float, hi: float, max_error: float, name: str) -> SplineSpec:
    if not 0 < lo < hi:
        raise ValueError(f"{name} needs a range above 0, not [{lo:g}, {hi:g}]")
    grid = 2.0 ** (math.floor(math.log2(lo)) - 3)
    return fit(f, lo, hi, max_error, name=name, relative=True, grid=grid)


def _between(f: Function, wide: float, error: float, name: str, *, left: Piece, right: Piece) -> SplineSpec:
    """A fit between tails, all of it on [−wide, wide]."""
    return _coarse(f, -wide, wide, error, name, left=left, right=right)


def _beside_relu(f: Function, wide: float, error: float, name: str) -> SplineSpec:
    """What ``f`` has beside max(x, 0), which is even where f(x) − f(−x) = x: of |x|, with 0 for a tail."""
    return _coarse(lambda x: f(-x), 0.0, wide, error, name, right=ZERO)


_GRIDS = (2.0**-2, 2.0**-3, 2.0**-4)


def _coarse(
    f: Function,
    lo: float,
    hi: float,
    error: float,
    name: str,
    *,
    left: Piece | None = None,
    right: Piece | None = None,
    domain: tuple[float, float] | None = None,
) -> SplineSpec:
    """The fewest knots on the coarsest grid that needs no more: they share what is compared below it."""
    fits = []
    for grid in _GRIDS:
        try:
            fits.append(
                least_squares(f, lo, hi, error, name=name, grid=grid, left=left, right=right, domain=domain)
            )
        except FitError as fault:
            refused = fault
    if not fits:
        raise refused
    return min(fits, key=lambda spec: len(spec.knots))


@dataclass(frozen=True)
class Row:
    """One line of docs/functions.md."""

    formula: str
    kind: str
    spec: SplineSpec


def table() -> list[Row]:
    """The default fits, and for GELU and exp what more or fewer knots would give."""
    return [
        *(Row("−xΦ(−x)", "absolute", gelu(GELU_ERROR * e)) for e in (2, 1, 0.5, 0.25)),
        Row("−xΦ(−x), tanh form", "absolute", gelu(approx="tanh")),
        *(Row("eˣ, x ≤ 1/4", "absolute", exp(EXP_ERROR * e)) for e in (2, 1, 0.5, 0.25)),
        Row("−x/(1+eˣ)", "absolute", silu()),
        Row("1/(1+e⁻ˣ)", "absolute", sigmoid()),
        Row("tanh x", "absolute", tanh()),
        Row("erf x", "absolute", erf()),
        *(Row("1/x", "relative", reciprocal(1.0, hi)) for hi in (8.0, 32.0, 128.0)),
        *(Row("1/√x", "relative", rsqrt(lo, hi)) for lo, hi in ((0.1, 2.0), (0.01, 1.0))),
        Row("√x", "relative", sqrt(0.1, 2.0)),
        Row("max(x, 0)", "absolute", relu()),
    ]


def markdown() -> str:
    """docs/functions.md, but for what changes the model (`passes/friendly.py`)."""
    lines = [
        "# Functions as piecewise quadratics",
        "",
        "Made by `passes/functions.py`; regenerate with",
        "`PPC_UPDATE=1 pytest tests/passes/test_functions.py`.",
        "",
        "Functions with tails are fitted by least squares: what adds up many of their values hears of errors",
        "in the mean, of which these have none; `rms` is the root mean square between the tails. Beyond the",
        "domain the error only shrinks. 1/x, 1/√x and √x have the least maximal error, in proportion, on the",
        "calibrated range. Knots lie on the grid named; a `gate` is x·[x ≥ k], exactly. GELU and SiLU are",
        "max(x, 0) and an even rest, which is a spline of |x| = 2·max(x, 0) − x.",
        "",
        "| function | formula | domain | max. error | | rms | knots | grid | gates |",
        "| --- | --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for row in table():
        spec = row.spec
        lo, hi = (f"{end:g}".replace("inf", "∞") for end in spec.domain)
        rms = f"{spec.error:.2g}" if spec.error else ""
        lines.append(
            f"| {spec.function} | {row.formula} | [{lo}, {hi}] | {spec.max_error:.2g} | {row.kind} "
            f"| {rms} | {len(spec.knots)} | {_grid(spec):g} | {len(spec.gates)} |"
        )
    return "\n".join(lines) + "\n"


def _grid(spec: SplineSpec) -> float:
    """The coarsest power of two of which every knot is a multiple."""
    grid = 2.0**8
    while any((k / grid) % 1 for k in spec.knots):
        grid /= 2
    return grid


__all__ = [
    "clip",
    "erf",
    "exp",
    "gelu",
    "markdown",
    "reciprocal",
    "relu",
    "rsqrt",
    "sigmoid",
    "silu",
    "sqrt",
    "table",
    "tanh",
]
