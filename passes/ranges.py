"""Where values lie: what data say of it, and what holds for any input, from the ranges of operands alone."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from ppc.frontend.ir import ops
from ppc.frontend.ir.graph import Op
from ppc.passes import octaves
from ppc.passes.formulas import (
    averaged,
    is_exp_of_rows,
    is_inverse_sum,
    is_normalised,
    is_sum_of_exp,
    is_sum_of_relus,
    over_rows,
    root_of,
)

SLACK = 0.25
"""The maximum that softmax subtracts may be short by this much."""


def rounded(op: ops.ReduceMax) -> float:
    """How much further apart two values may be where a maximum is found, both being rounded."""
    return 2 * SLACK if op.steadies else 0.0


_SHORT = 0.01
UNIT = 1.01
_POINTS = 4097
EVEN = 1.001
"""Weights of a mean sum up to 1, but for rounding."""


@dataclass(frozen=True)
class Range:
    """Where a value lies. ``rms`` is a typical magnitude: the lower quartile over rows of a row's root mean
    square, so that rows which are small (a sharp softmax) keep their digits too; of several texts the median,
    since one of them may be hundreds of times as large as the others. ``most`` is the largest magnitude, and
    ``norm`` the largest √Σx² of a row, that any input makes (`passes/assured.py`)."""

    lo: float
    hi: float
    rms: float
    most: float = math.inf
    norm: float = math.inf

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
        case ops.ReduceSum() if is_sum_of_exp(op):
            return bounds(op, known)
        case ops.MatMul(a=ops.Exp() | ops.Spline(), b=v) if is_exp_of_rows(op.a):
            # Σ e·v before it is divided by Σ e (passes/delay_division.py)
            most = op.a.type.shape[-1] * UNIT * math.exp(SLACK)
            return min(0.0, most * known[v].lo), max(0.0, most * known[v].hi)
        case ops.Mul(a=ops.MatMul(a=e, b=v), b=r) if is_inverse_sum(r, e):
            # and behind the division it is a mean of v's rows
            return min(0.0, UNIT * known[v].lo), max(0.0, UNIT * known[v].hi)
        case ops.MatMul(b=h) if is_mean(op, known):
            most = EVEN * known[h].magnitude
            return -most, most
        case ops.Mul() if is_normalised(op) and (is_mean(op.a, known) or is_mean(op.b, known)):
            return -UNIT, UNIT
        case ops.Reshape(x=x) | ops.Transpose(x=x) | ops.Broadcast(x=x):
            return known[x].lo, known[x].hi
        case ops.Reciprocal(x=x) if known[x].lo > 0:
            return bounds(op, known)
        case ops.Spline(x=x, spline=spline) if spline.function in ("reciprocal", "rsqrt", "sqrt"):
            return bounds(op, known)
        case ops.Clip() | ops.Spline() if root_of(op) is not None:
            return bounds(op, known)
        case ops.ReduceSum(x=ops.Square(x=x)) if over_rows(op) and is_mean(x, known):
            return 0.0, known[x].norm ** 2
    return None


def is_mean(op: Op, known: Ranges) -> bool:
    """Rows averaged with weights that the client works out of its mask."""
    while isinstance(op, ops.Reshape) and op.type.shape[-1:] == op.x.type.shape[-1:]:
        op = op.x
    return isinstance(op, ops.MatMul) and (x := averaged(op.a)) is not None and known[x].lo >= 0


def bounds(op: Op, known: Ranges) -> tuple[float, float]:
    """What holds for any input, given the ranges of the operands; (−∞, ∞) where nothing is known."""
    match op:
        case ops.Spline(spline=spline) if octaves.is_reduced(op):
            return octaves.reduced_range(spline)
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
        case ops.Mul() if is_normalised(op):
            # no value is larger than the root of the sum of all squares
            return -UNIT, UNIT
        case ops.ReduceSum() if is_sum_of_exp(op):
            # one of the summands is e^0, or more where the maximum is short by a little
            return 1 - _SHORT, op.x.type.shape[-1] * UNIT * math.exp(SLACK)
        case ops.ReduceSum(x=ops.Square(x=x)) if over_rows(op):
            return 0.0, known[x].norm ** 2
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
