"""One spelling per formula, so that what comes after needs to know only one.

arithmetic   c + x -> x + c               x − c -> x + (−c)            a + (−b) -> a − b
             x / c -> x · (1/c)           1 / x -> reciprocal x        a · reciprocal b -> a / b
             x · x, x² -> square x        x³ -> square x · x           x^½ -> √x
             (x + c) + d -> x + (c + d)   (x · c) · d -> x · (c · d)   x + 0, x · 1 -> x
             max(x, 0) -> relu x          Σx / n -> mean x             −1 · x -> −x
structure    axes count from 0 and increase; reshape of reshape and transpose of transpose are one;
             what changes nothing is gone; a look-up at a known place is a slice; softmax is over the
             last axis; an operand is not repeated before an operator that broadcasts it
conditions   where(¬c, a, b) -> where(c, b, a)
             where(isnan x, c, x) -> x, because a fixed-point number is never NaN
"""

from __future__ import annotations

from ppc.frontend.ir.graph import Graph
from ppc.passes.canonical_arithmetic import RULES as ARITHMETIC
from ppc.passes.canonical_structure import RULES as STRUCTURE
from ppc.passes.fold_constants import rule as fold
from ppc.passes.merge_equal import merging
from ppc.passes.rewrite import Rewritten, apply_all


def canonicalize(graph: Graph) -> Rewritten:
    """The graph with each formula in its one spelling, constants folded and equal ops merged on the way."""
    return apply_all((fold, *ARITHMETIC, *STRUCTURE, merging()), graph)
