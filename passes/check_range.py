"""Prove that within the calibrated ranges nothing wraps where wrapping shows.

Sums, products and layout may wrap: they are right modulo the ring whatever happens in between. What must fit
is what is read as a number: an encoded constant or input (half the ring), a value that is truncated or moved
to a larger ring (a quarter of it: a sign and a spare bit), the argument of a spline and its quadratics, a
maximum's differences, and a result.
"""

from __future__ import annotations

from ppc.frontend.ir import ops
from ppc.frontend.ir.graph import Graph, Op, walk
from ppc.passes.assign_scale import FixedGraph, is_local
from ppc.passes.errors import RangeError, place
from ppc.passes.formats import WIDEST
from ppc.passes.quantise import Quantised
from ppc.passes.ranges import Range, rounded
from ppc.runtime.base.ring import Fixed


def check_range(fixed: FixedGraph) -> Graph:
    """The graph itself, if every value read as a number fits; RangeError for the first that does not."""
    for op in walk(fixed.graph):
        if isinstance(op.type.num, Fixed):
            _check(op, fixed)
    for op in fixed.graph.outputs.values():
        if isinstance(op.type.num, Fixed):
            _fits(op, fixed.ranges[op], op.type.num, 1, "as a result")
    return fixed.graph


def _check(op: Op, fixed: FixedGraph) -> None:
    match op:
        case ops.MatMul() if isinstance(op.type.num, Fixed) and op.type.num.bits > WIDEST:
            raise RangeError(
                f"{place(op)} needs a ring of {op.type.num.bits} bits, more than the {WIDEST} of a product "
                "under encryption. Allow a larger --max-error, or scale its operands down in the model"
            )
        case ops.Const() | ops.Cast() | ops.OneHot():
            assert isinstance(op.type.num, Fixed)
            _fits(op, fixed.ranges[op], op.type.num, 1, "when it is encoded")
        case ops.Rescale(x=x, num=num):
            assert isinstance(x.type.num, Fixed)
            if not is_local(x.type.num, num):
                _fits(op, fixed.ranges[x], x.type.num, 2, "when it is truncated")
        case ops.ReduceMax(x=x):
            assert isinstance(x.type.num, Fixed)
            known = fixed.ranges[x]
            apart = Range(0.0, known.hi - known.lo + rounded(op), 0.0)
            _fits(op, apart, x.type.num, 1, "as the difference of two values of a row")
        case ops.Spline(x=x, spline=spline, quad=quad, width=width):
            assert isinstance(x.type.num, Fixed)
            if quad is None or width is None:
                raise RangeError(f"{op!r} has no format for its quadratics")
            known = fixed.ranges[x]
            far = max(abs(known.hi - spline.knots[0]), abs(known.lo - spline.knots[-1]), known.magnitude)
            _fits(op, Range(-far, far, 0.0), Fixed(width, x.type.num.scale), 1, "as its distance to a knot")
            values = Quantised(spline, 0).values(known)
            _fits(op, Range(*values, 0.0), quad, 2, "as the value of a quadratic")
            if spline.gates:
                _fits(op, known, x.type.num, 2, "behind a gate")


def _fits(op: Op, value: Range, num: Fixed, spare: int, when: str) -> None:
    """|value| ≤ 2^(bits − spare), strictly but for the power of two itself, which rounding never reaches."""
    limit = 2.0 ** (num.bits - spare - num.scale)
    if not value.magnitude <= limit:
        raise RangeError(
            f"{type(op).__name__} {op.name or '(unnamed)'} : {op.type} {when} reaches {value.magnitude:g}, "
            f"but {num} holds ±{limit:g} there; calibrate on more data, or raise the margin"
        )
