"""What is watched while two parties compute: few values, whose leaving their ranges would ruin an answer.

The argument of a reciprocal or a root is a sum over its row: it tells of the whole row, and takes no ring of
its own, since a ring holds the square of any amplitude to twice as far as the range goes before it has turned
round once. The maximum of a row of scores tells of the scores, whose rings get a bit for it.
"""

from __future__ import annotations

from ppc.frontend.ir import ops
from ppc.frontend.ir.graph import Graph, Op, walk
from ppc.passes.formulas import is_sum_of_exp, root_of
from ppc.passes.legal import LAYOUT, SUMS
from ppc.passes.octaves import is_octave, is_reduced
from ppc.passes.quantise import RELATIVE

ROOM = 2.0
"""A value that goes so many times as far as its range is noticed for certain, and has not gone round its
ring."""

SCORES = 1.3
"""An alarm comes where a score is so many times as far up as its range: it is right in between, since rings
have room for more."""


def is_watched(op: Op) -> bool:
    """A maximum, or a function whose argument is: not where any input keeps within what it is fitted to, nor
    where another watched value says as much."""
    match op:
        case ops.ReduceMax():
            return True
        case ops.Spline(x=x, spline=spline):
            if spline.function in RELATIVE:
                sure = isinstance(x, ops.ReduceSum) and is_sum_of_exp(x)
                return not (sure or is_reduced(x) or root_of(x) is not None)
            return is_octave(op)
    return False


def roomy(graph: Graph) -> frozenset[Op]:
    """Scores, their maxima and their distances from them: what must hold ``ROOM`` times its range."""
    found: set[Op] = set()
    maxima = [op for op in walk(graph) if isinstance(op, ops.ReduceMax)]
    for op in maxima:
        stack: list[Op] = [op]
        while stack:
            each = stack.pop()
            if each not in found and not isinstance(each, ops.Const):
                found.add(each)
                if type(each) in SUMS | LAYOUT or isinstance(each, ops.ReduceMax | ops.Mul):
                    stack += each.operands
    apart = (op for op in walk(graph) if isinstance(op, ops.Sub) and op.b in maxima)
    return frozenset(found | set(apart))
