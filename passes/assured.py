"""What bounds a value whatever the input: a norm makes a row's size 1, and weights say what becomes of it.

    ‖x/√(Σx² + ε)‖ ≤ 1        |x·w| ≤ ‖x‖·‖w‖        ‖Σ wᵢ·xᵢ‖ ≤ max ‖xᵢ‖ where Σ|wᵢ| ≤ 1

So what is read between one norm and the next – queries, keys, values, what a GELU takes – lies within bounds
that are mostly some two or three times what samples show; what passes them on (scores, a residual stream)
soon has none.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from ppc.frontend.ir import ops
from ppc.frontend.ir.graph import Op
from ppc.passes.formulas import is_exp_of_rows, is_inverse_sum, is_look_up, is_normalised, magnitude_of
from ppc.passes.ranges import EVEN, SLACK, UNIT, Ranges, is_mean

Assured = tuple[float, float]
"""The largest magnitude and the largest √Σx² of a row; ∞ where nothing is known."""

_NOTHING = (math.inf, math.inf)
_BOUNDED = frozenset({"tanh", "sigmoid", "erf", "gelu", "gelu_tanh", "silu"})
"""Splines of no more than 1; of a GELU and its kin what they have beside a ReLU."""


def assured(op: Op, known: Ranges) -> Assured:
    """What holds of ``op`` for any input, given what is known of its operands."""
    most, norm = _assured(op, known)
    width = math.sqrt(op.type.shape[-1]) if op.type.shape else 1.0
    return min(most, norm), min(norm, most * width)


def _assured(op: Op, known: Ranges) -> Assured:
    match op:
        case ops.Const(value=value):
            return _of_rows(value)
        case ops.Mul() if is_normalised(op):
            return UNIT, UNIT
        case ops.Mul(a=ops.MatMul(a=e, b=v), b=r) if is_inverse_sum(r, e):
            return UNIT * known[v].most, UNIT * known[v].norm
        case ops.Mul(a=a, b=b):
            a, b = (b, a) if a.type.shape != op.type.shape else (a, b)
            return _times(known[a].most, known[b].most), _times(known[a].norm, known[b].most)
        case ops.Sub() if (x := magnitude_of(op)) is not None:
            return known[x].most, known[x].norm
        case ops.Add(a=a, b=b) | ops.Sub(a=a, b=b):
            rows = (_row(each, op, known) for each in (a, b))
            return known[a].most + known[b].most, sum(rows)
        case ops.Neg(x=x) | ops.Reshape(x=x) | ops.Transpose(x=x) | ops.Broadcast(x=x) | ops.Slice(x=x):
            return known[x].most, known[x].norm if _keeps_rows(op, x) else math.inf
        case ops.MatMul() if is_look_up(op):
            return known[op.b].most, known[op.b].norm
        case ops.MatMul(b=h) if is_mean(op, known):
            return EVEN * known[h].most, EVEN * known[h].norm
        case ops.MatMul(a=e, b=v) if is_exp_of_rows(e):
            terms = UNIT * e.type.shape[-1] * math.exp(SLACK)
            return terms * known[v].most, terms * known[v].norm
        case ops.MatMul(a=x, b=ops.Const(value=w)):
            columns = np.sqrt(np.square(w, dtype=np.float64).sum(axis=-2))
            return _times(known[x].norm, float(columns.max())), math.inf
        case ops.Concat(xs=xs):
            return max(known[each].most for each in xs), math.inf
        case ops.ReduceMax(x=x):
            return known[x].most, math.inf
        case ops.Softmax() | ops.Sigmoid() | ops.Tanh() | ops.Erf() | ops.OneHot():
            return 1.0, math.inf
        case ops.Relu(x=x) | ops.Gelu(x=x) | ops.Silu(x=x):
            return known[x].most, known[x].norm
        case ops.Spline(x=x, spline=spline) if spline.function in _BOUNDED:
            return 1.0 + spline.max_error, math.inf
        case ops.Spline(x=x, spline=spline) if spline.function == "relu":
            return known[x].most, known[x].norm
        case ops.LayerNorm(gamma=ops.Const(value=gamma), beta=ops.Const(value=beta)):
            (most, _), (shift, shifts) = _of_rows(gamma), _of_rows(beta)
            width = math.sqrt(op.type.shape[-1])
            return width * most + shift, width * most + shifts
    return _NOTHING


def _times(a: float, b: float) -> float:
    """The product, in which 0 counts more than ∞."""
    return a * b if a and b else 0.0


def _of_rows(value: NDArray[np.generic]) -> Assured:
    if not value.size:
        return 0.0, 0.0
    squares = np.einsum("...j,...j->...", *2 * [np.atleast_1d(value)], dtype=np.float64, casting="same_kind")
    return max(float(value.max()), -float(value.min())), math.sqrt(squares.max())


def _row(part: Op, whole: Op, known: Ranges) -> float:
    """The norm of a row of ``part``, as often as ``whole`` repeats its numbers."""
    if part.type.shape[-1:] == whole.type.shape[-1:]:
        return known[part].norm
    return known[part].most * math.sqrt(whole.type.shape[-1])


def _keeps_rows(op: Op, x: Op) -> bool:
    """Whether each row of ``op`` is one of x's, or a part of one."""
    match op:
        case ops.Neg():
            return True
        case ops.Transpose(perm=perm):
            return perm[-1] == len(perm) - 1
        case ops.Reshape():
            return bool(op.type.shape and x.type.shape) and x.type.shape[-1] % op.type.shape[-1] == 0
    return op.type.shape[-1:] == x.type.shape[-1:] or isinstance(op, ops.Slice)
