"""1/√x for x that spans many octaves: sums of squares where single channels are thousands of times the rest.

    1/√x = p·f(p²·x),    p = 2^-k for x in [b·4^k, b·4^(k+1)),    f = 1/√ on [b, 4·b),    b = 1 or 1/2

One fit over all octaves takes two knots for each and coefficients whose sizes differ by the square of the
range; here comparisons alone know the octaves, p and p²·x have a power of two on each of them and are exact,
and f is one short fit. Both compare one x, in which no bit is dropped: they must mean the same octave.
"""

from __future__ import annotations

import math
from dataclasses import replace

from ppc.frontend.ir import ops
from ppc.frontend.ir.graph import Op
from ppc.frontend.ir.spline import SplineSpec

OCTAVES = "octaves"
"""The function's name in splines that choose p."""

REDUCED = "x by octaves"
"""The same of p²·x."""

BY_OCTAVES = frozenset({OCTAVES, REDUCED})

WIDE = 2.0**9
"""From this ratio of ends on. Below, one fit costs less than the products that come with p."""

SLACK = 2.0**-5
"""How far p²·x may leave [b, 4·b) by its rounding, and x's."""


def octaves(lo: float, hi: float) -> tuple[SplineSpec, SplineSpec]:
    """p and p²·x of x in [lo, hi]: constant on each octave, and lines through zero.

    The last octave ends at the power of two that x's ring ends at, which so holds p²·x, too.
    """
    top = math.ceil(math.log2(hi * (1 + SLACK)))
    count = math.ceil((top - math.log2(lo)) / 2)
    ends = [2.0 ** (top - 2 * k) for k in range(count, -1, -1)]
    last = (top - 1) // 2
    steps = range(last - count + 1, last + 1)
    chosen = SplineSpec(
        knots=tuple(ends[1:-1]),
        pieces=tuple((2.0**-k, 0.0, 0.0) for k in steps),
        gates=(),
        domain=(ends[0], ends[-1]),
        max_error=0.0,
        function=OCTAVES,
    )
    return chosen, replace(chosen, pieces=tuple((0.0, 4.0**-k, 0.0) for k in steps), function=REDUCED)


def reduced_range(reduced: SplineSpec) -> tuple[float, float]:
    """Where p²·x lies: of four or of two times a number from 1/4 to 1, and a little more."""
    _, slope, _ = reduced.pieces[0]
    return slope * reduced.domain[0] * (1 - SLACK), 4 * slope * reduced.domain[0] * (1 + SLACK)


def is_octave(op: Op) -> bool:
    """p."""
    return isinstance(op, ops.Spline) and op.spline.function == OCTAVES


def is_reduced(op: Op) -> bool:
    """p²·x."""
    return isinstance(op, ops.Spline) and op.spline.function == REDUCED


def scaled_by_octave(op: Op) -> bool:
    """A product with such a p: it is what becomes of octaves, and spans them."""
    return isinstance(op, ops.Mul) and (is_octave(op.a) or is_octave(op.b))


def under_root(op: Op) -> Op | None:
    """x where ``op`` is 1/√x: as functions, as one fit, or by octaves."""
    match op:
        case ops.Reciprocal(x=ops.Sqrt(x=x)):
            return x
        case ops.Spline(x=x, spline=spline) if spline.function == "rsqrt":
            return x
        case ops.Mul(a=ops.Spline(x=ops.Spline(x=x) as reduced), b=ops.Spline(x=same) as p) if x is same:
            return x if is_octave(p) and is_reduced(reduced) else None
    return None
