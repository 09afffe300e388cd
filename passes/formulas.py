"""Formulas that say by themselves where a value lies: a softmax's parts, norms, means, look-ups."""

from __future__ import annotations

import numpy as np

from ppc.frontend.ir import ops
from ppc.frontend.ir.graph import Op
from ppc.passes import octaves


def is_exp_of_rows(op: Op) -> bool:
    """e^(x − max x) over the last axis, as a function or as its spline."""
    if not (isinstance(op, ops.Exp) or (isinstance(op, ops.Spline) and op.spline.function == "exp")):
        return False
    match op.x:
        case ops.Sub(a=x, b=ops.ReduceMax(x=of, axes=axes)) if of is x:
            return [axis % x.type.rank for axis in axes] == [x.type.rank - 1]
    return False


def is_sum_of_exp(op: ops.ReduceSum) -> bool:
    return is_exp_of_rows(op.x) and over_rows(op)


def is_inverse_sum(r: Op, e: Op) -> bool:
    """1/Σe over the last axis."""
    is_inverse = isinstance(r, ops.Reciprocal) or (
        isinstance(r, ops.Spline) and r.spline.function == "reciprocal"
    )
    if not is_inverse:
        return False
    (total,) = r.operands
    return isinstance(total, ops.ReduceSum) and total.x is e and is_sum_of_exp(total)


def over_rows(op: ops.ReduceSum) -> bool:
    return [axis % op.x.type.rank for axis in op.axes] == [op.x.type.rank - 1]


def is_normalised(op: ops.Mul) -> bool:
    """x / √(Σx² + ε) over the last axis, or what is less: with a floor under the root."""
    for x, r in ((op.a, op.b), (op.b, op.a)):
        match under_root(r):
            case ops.ReduceSum(x=ops.Square(x=of)) | ops.Add(a=ops.ReduceSum(x=ops.Square(x=of))) if of is x:
                return True
    return False


def under_root(op: Op) -> Op | None:
    """x where ``op`` is 1/√x, or less by a floor under the root."""
    match op:
        case ops.Reciprocal(x=root):
            return root_of(root)
        case ops.Spline(x=root, spline=spline) if spline.function == "reciprocal":
            return root_of(root)
    return octaves.under_root(op)


def root_of(op: Op) -> Op | None:
    """x where ``op`` is √x, or a floor under it."""
    match op:
        case ops.Clip(x=x, hi=None):
            return root_of(x)
        case ops.Spline(x=x, spline=spline) if spline.function == "clip" and spline.gates == ((0, 1.0),):
            return root_of(x)  # max(x, lo) alone has one knot, and x behind it
        case ops.Sqrt(x=x):
            return x
        case ops.Spline(x=x, spline=spline) if spline.function == "sqrt":
            return x
    return None


def magnitude_of(op: Op) -> Op | None:
    """x where ``op`` is |x| = 2·max(x, 0) − x."""
    match op:
        case ops.Sub(a=ops.Mul(a=relu, b=ops.Const(value=two)), b=x) if (
            two.size == 1 and float(two.item()) == 2
        ):
            return x if _is_relu(relu) and relu.operands[0] is x else None
    return None


def is_look_up(op: Op) -> bool:
    """A row of a table: every entry may turn up, whatever calibration saw."""
    return isinstance(op, ops.MatMul) and isinstance(op.a, ops.OneHot) and isinstance(op.b, ops.Const)


def averaged(op: Op) -> Op | None:
    """x where ``op`` is x / Σx, Σ over at least a row of it, or less by a floor under the sum: weights of a
    mean, as long as no x is negative."""
    match op:
        case ops.Div(a=part, b=whole):
            total = _bare(whole)
            if isinstance(total, ops.ReduceSum):
                summed = total.x.type.size // total.type.size
                x = _bare(part)
                return x if _bare(total.x) is x and summed >= op.type.shape[-1] else None
    return None


def _bare(op: Op) -> Op:
    """What ``op`` lays out anew, repeats, or puts a floor under."""
    while isinstance(op, ops.Reshape | ops.Transpose | ops.Broadcast | ops.Cast | ops.Clip):
        if isinstance(op, ops.Clip) and op.hi is not None:
            return op
        op = op.x
    return op


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
