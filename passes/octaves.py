"""1/√x for x that spans many octaves: sums of squares where single channels are thousands of times the rest.

    1/√x = p·f(p²·x),    p = 2^-k for x in [4^k, 4^(k+1)),    f = 1/√ on [1, 4)

One fit over all octaves takes two knots for each and coefficients whose sizes differ by the square of the
range; here comparisons alone know the octaves, p is a power of two and exact, and f is one short fit.
"""

from __future__ import annotations

import math

from ppc.frontend.ir import ops
from ppc.frontend.ir.graph import Op
from ppc.frontend.ir.spline import SplineSpec

OCTAVES = "octaves"
"""The function's name in splines that choose p."""

WIDE = 2.0**9
"""From this ratio of ends on. Below, one fit costs less than the products that come with p."""

SLACK = 2.0**-5
"""How far p²·x may leave [1, 4) by the rounding of two products."""


def octaves(lo: float, hi: float) -> SplineSpec:
    """p of x in [lo, hi]: constant between powers of four."""
    first, last = (math.floor(math.log2(end) / 2) for end in (lo, hi))
    steps = range(first, last + 1)
    return SplineSpec(
        knots=tuple(4.0**k for k in steps[1:]),
        pieces=tuple((2.0**-k, 0.0, 0.0) for k in steps),
        gates=(),
        domain=(4.0**first, 4.0 ** (last + 1)),
        max_error=0.0,
        function=OCTAVES,
    )


def is_octave(op: Op) -> bool:
    return isinstance(op, ops.Spline) and op.spline.function == OCTAVES


def scaled_by_octave(op: Op) -> bool:
    """A product with such a p: it spans octaves itself, or is what becomes of them."""
    return isinstance(op, ops.Mul) and (is_octave(op.a) or is_octave(op.b))


def is_reduced(op: Op) -> bool:
    """p²·x."""
    match op:
        case ops.Mul(a=ops.Mul(a=x, b=p), b=again) if p is again and is_octave(p):
            return p.operands[0] is x
    return False


def under_root(op: Op) -> Op | None:
    """x where ``op`` is 1/√x: as functions, as one fit, or by octaves."""
    match op:
        case ops.Reciprocal(x=ops.Sqrt(x=x)):
            return x
        case ops.Spline(x=x, spline=spline) if spline.function == "rsqrt":
            return x
        case ops.Mul(a=ops.Spline(x=reduced), b=ops.Spline(x=x) as p) if is_octave(p) and is_reduced(reduced):
            return x
    return None
