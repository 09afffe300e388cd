"""Where values lie: what data say of it, and what holds for any input, from the ranges of operands alone."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from ppc.frontend.ir import ops
from ppc.frontend.ir.graph import Op
from ppc.passes import octaves

SLACK = 0.25
"""The maximum that softmax subtracts may be short by this much."""

_SHORT = 0.01
_UNIT = 1.01
_POINTS = 4097
_EVEN = 1.001
"""Weights of a mean sum up to 1, but for rounding."""


@dataclass(frozen=True)
class Range:
    """Where a value lies. ``rms`` is a typical magnitude: the lower quartile over rows of a row's
    root mean square, so that rows which are small (a sharp softmax) keep their digits too. ``sums`` is the
    largest Σ|x| of a row, where a product averages with it, and otherwise not looked for."""

    lo: float
    hi: float
    rms: float
    sums: float = math.inf

    @property
    def magnitude(self) -> float:
        return max(abs(self.lo), abs(self.hi))

    def __str__(self) -> str:
        return f"[{self.lo:.4g}, {self.hi:.4g}] ~{self.rms:.3g}"


Ranges = dict[Op, Range]


def certain(op: Op, known: Ranges) -> tuple[float, float] | None:
    """Where the value lies, to be taken whatever was seen; None where data say it better.

    These grow with what an input has more of than samples had (the tokens that a softmax sums over), or
    shrink (a mean over few tokens is as large as one of them).
    """
    match op:
        case ops.ReduceSum() if _is_sum_of_exp(op):
            return bounds(op, known)
        case ops.MatMul(a=ops.Exp() | ops.Spline(), b=v) if _is_exp_of_rows(op.a):
            # Σ e·v before it is divided by Σ e (passes/delay_division.py)
            most = op.a.type.shape[-1] * _UNIT * math.exp(SLACK)
            return min(0.0, most * known[v].lo), max(0.0, most * known[v].hi)
        case ops.Mul(a=ops.MatMul(a=e, b=v), b=r) if _is_inverse_sum(r, e):
            # and behind the division it is a mean of v's rows
            return min(0.0, _UNIT * known[v].lo), max(0.0, _UNIT * known[v].hi)
        case ops.MatMul(a=weights, b=h) if known[weights].sums <= _EVEN:
            most = _EVEN * known[h].magnitude
            return -most, most
        case ops.Reciprocal(x=x) if known[x].lo > 0:
            return bounds(op, known)
        case ops.Spline(x=x, spline=spline) if spline.function in ("reciprocal", "rsqrt", "sqrt"):
            return bounds(op, known)
        case ops.ReduceSum(x=ops.Square(x=x)) if _over_rows(op) and _is_mean(x, known):
            return 0.0, norm(x, known) ** 2
    return None


def _is_exp_of_rows(op: Op) -> bool:
    """e^(x − max x) over the last axis, as a function or as its spline."""
    if not (isinstance(op, ops.Exp) or (isinstance(op, ops.Spline) and op.spline.function == "exp")):
        return False
    match op.x:
        case ops.Sub(a=x, b=ops.ReduceMax(x=of, axes=axes)) if of is x:
            return [axis % x.type.rank for axis in axes] == [x.type.rank - 1]
    return False


def _is_sum_of_exp(op: ops.ReduceSum) -> bool:
    return _is_exp_of_rows(op.x) and _over_rows(op)


def _is_inverse_sum(r: Op, e: Op) -> bool:
    """1/Σe over the last axis."""
    is_inverse = isinstance(r, ops.Reciprocal) or (
        isinstance(r, ops.Spline) and r.spline.function == "reciprocal"
    )
    if not is_inverse:
        return False
    (total,) = r.operands
    return isinstance(total, ops.ReduceSum) and total.x is e and _is_sum_of_exp(total)


def _over_rows(op: ops.ReduceSum) -> bool:
    return [axis % op.x.type.rank for axis in op.axes] == [op.x.type.rank - 1]


def _is_normalised(op: ops.Mul) -> bool:
    """x / √(Σx² + ε) over the last axis."""
    for x, r in ((op.a, op.b), (op.b, op.a)):
        match octaves.under_root(r):
            case ops.ReduceSum(x=ops.Square(x=of)) | ops.Add(a=ops.ReduceSum(x=ops.Square(x=of))) if of is x:
                return True
    return False


def _is_mean(op: Op, known: Ranges) -> bool:
    while isinstance(op, ops.Reshape) and op.type.shape[-1:] == op.x.type.shape[-1:]:
        op = op.x
    return isinstance(op, ops.MatMul) and known[op.a].sums <= _EVEN


def norm(op: Op, known: Ranges) -> float:
    """What √Σx² of a row never passes; ∞ where nothing is known."""
    match op:
        case ops.Mul() if _is_normalised(op):
            return _UNIT
        case ops.Mul(a=x, b=ops.Const(value=factor)) if x.type.shape == op.type.shape:
            return norm(x, known) * float(np.max(np.abs(factor)))
        case ops.Add(a=x, b=ops.Const(value=shift)) if x.type.shape == op.type.shape:
            rows = np.broadcast_to(
                np.asarray(shift, np.float64), op.type.shape[-1:] if shift.ndim < 2 else shift.shape
            )
            return norm(x, known) + float(np.sqrt(np.square(rows).sum(axis=-1)).max())
        case ops.MatMul(a=weights, b=h) if known[weights].sums <= _EVEN:
            return _EVEN * norm(h, known)
        case ops.Reshape(x=x) if op.type.shape[-1:] == x.type.shape[-1:]:
            return norm(x, known)
    return math.inf


def is_look_up(op: Op) -> bool:
    """A row of a table: every entry may turn up, whatever calibration saw."""
    return isinstance(op, ops.MatMul) and isinstance(op.a, ops.OneHot) and isinstance(op.b, ops.Const)


def is_sum_of_relus(op: Op) -> bool:
    """Σ relu + ε: ε in a row that is all negative, or all masked, be there one among what was seen or not."""
    match op:
        case ops.Add(a=ops.ReduceSum(x=x), b=ops.Const(value=epsilon)):
            return bool(np.all(epsilon > 0)) and _is_relu(x.x if isinstance(x, ops.Square) else x)
    return False


def _is_relu(op: Op) -> bool:
    return isinstance(op, ops.Relu) or (isinstance(op, ops.Spline) and op.spline.function == "relu")


def divides_by_relus(op: Op) -> bool:
    return isinstance(op, ops.Reciprocal | ops.Spline) and is_sum_of_relus(op.x)


def bounds(op: Op, known: Ranges) -> tuple[float, float]:
    """What holds for any input, given the ranges of the operands; (−∞, ∞) where nothing is known."""
    match op:
        case ops.Mul() if octaves.is_reduced(op):
            return 1 - octaves.SLACK, 4 * (1 + octaves.SLACK)
        case ops.Softmax() | ops.Sigmoid() | ops.OneHot():
            return 0.0, 1.0
        case ops.MatMul(a=ops.OneHot(), b=ops.Const(value=table)):
            return min(0.0, float(table.min())), max(0.0, float(table.max()))
        case ops.Tanh() | ops.Erf():
            return -1.0, 1.0
        case ops.Relu() | ops.Square() | ops.Abs() | ops.Exp():
            return 0.0, math.inf
        case ops.Add(a=ops.ReduceSum(x=x), b=b) if is_sum_of_relus(op):
            return known[b].lo, math.inf
        case ops.Reciprocal(x=x) if known[x].lo > 0:
            return 1 / known[x].hi, 1 / known[x].lo
        case ops.Add(a=a, b=b):
            return known[a].lo + known[b].lo, known[a].hi + known[b].hi
        case ops.Sub(a=a, b=ops.ReduceMax(x=x)) if a is x:
            return known[x].lo - known[x].hi, 0.0
        case ops.Sub(a=a, b=b):
            return known[a].lo - known[b].hi, known[a].hi - known[b].lo
        case ops.ReduceMax(x=x) | ops.Reshape(x=x) | ops.Transpose(x=x) | ops.Slice(x=x) | ops.Broadcast(x=x):
            return known[x].lo, known[x].hi
        case ops.Clip(x=x, lo=lo, hi=hi):
            least = known[x].lo if lo is None else max(lo, known[x].lo)
            return least, known[x].hi if hi is None else min(hi, known[x].hi)
        case ops.Mul() if _is_normalised(op):
            # no value is larger than the root of the sum of all squares
            return -_UNIT, _UNIT
        case ops.ReduceSum() if _is_sum_of_exp(op):
            # one of the summands is e^0, or more where the maximum is short by a little
            return 1 - _SHORT, op.x.type.shape[-1] * _UNIT * math.exp(SLACK)
        case ops.ReduceSum(x=ops.Square(x=x)) if _over_rows(op):
            return 0.0, norm(x, known) ** 2
        case ops.Spline(x=x, spline=spline):
            hi = max(known[x].hi, SLACK) if spline.function == "exp" else known[x].hi
            at = np.linspace(known[x].lo, hi, _POINTS)
            inside = [k for k in spline.knots if known[x].lo <= k <= hi]
            value = spline.evaluate(np.concatenate([at, inside, np.nextafter(inside, -np.inf)]))
            return float(value.min()), float(value.max())
        case ops.LayerNorm(gamma=ops.Const(value=gamma), beta=ops.Const(value=beta)):
            most = math.sqrt(op.type.shape[-1]) * np.max(np.abs(gamma)) + np.max(np.abs(beta))
            return -float(most), float(most)
    return -math.inf, math.inf
