"""The rules of ``canonicalize`` for arithmetic."""

from __future__ import annotations

import math

import numpy as np

from ppc.frontend.ir import ops
from ppc.frontend.ir.graph import FLOAT, Op
from ppc.frontend.ir.ops import Const, scalar
from ppc.passes.fold_constants import folded
from ppc.passes.pattern import is_all, public
from ppc.passes.rewrite import Refuse, Rule, Uses

_COMMUTATIVE = (ops.Add, ops.Mul, ops.Max, ops.Min, ops.Equal, ops.And, ops.Or)


def constant_right(op: Op, uses: Uses) -> Op | None:
    """c + x -> x + c, and so for every operator that allows it."""
    if isinstance(op, _COMMUTATIVE) and isinstance(op.a, Const) and not isinstance(op.b, Const):
        return type(op)(op.b, op.a)
    return None


def subtraction(op: Op, uses: Uses) -> Op | None:
    """x − c -> x + (−c);  a + (−b) -> a − b;  a − (−b) -> a + b;  0 − x -> −x;  −(a − b) -> b − a"""
    match op:
        case ops.Sub(a=a, b=Const() as c) if c.type.num == op.type.num:
            return ops.Add(a, folded(ops.Neg(c)))
        case ops.Sub(a=a, b=ops.Neg(x=b)):
            return ops.Add(a, b)
        case ops.Add(a=a, b=ops.Neg(x=b)) | ops.Add(a=ops.Neg(x=b), b=a):
            return ops.Sub(a, b)
        case ops.Sub(a=zero, b=x) if is_all(zero, 0) and x.type == op.type:
            return ops.Neg(x)
        case ops.Neg(x=ops.Neg(x=x)):
            return x
        case ops.Neg(x=ops.Sub(a=a, b=b) as difference) if uses[difference] == 1:
            return ops.Sub(b, a)
        case ops.Mul(a=x, b=c) if public(c) == -1 and x.type == op.type:
            return ops.Neg(x)
    return None


def division(op: Op, uses: Uses) -> Op | None:
    """x / c -> x · (1/c);  1 / x -> reciprocal x;  a · reciprocal b -> a / b;  1 / (a / b) -> b / a"""
    if op.type.num != FLOAT:
        return None
    match op:
        case ops.Div(a=a, b=Const() as c):
            if not np.all(c.value):
                raise Refuse("the divisor has a zero")
            return ops.Mul(a, folded(ops.Reciprocal(c)))
        case ops.Div(a=one, b=x) if is_all(one, 1) and x.type == op.type:
            return ops.Reciprocal(x)
        case ops.Reciprocal(x=ops.Reciprocal(x=x)):
            return x
        case ops.Reciprocal(x=ops.Div(a=a, b=b) as quotient) if uses[quotient] == 1:
            return ops.Div(b, a)
        case (
            ops.Mul(a=a, b=ops.Reciprocal(x=b) as reciprocal)
            | ops.Mul(a=ops.Reciprocal(x=b) as reciprocal, b=a)
        ) if not isinstance(a, Const):
            if uses[reciprocal] > 1:
                raise Refuse("the reciprocal has another user")
            return ops.Div(a, b)
    return None


def powers(op: Op, uses: Uses) -> Op | None:
    """x² and x·x -> square x;  x³ -> square x · x;  x^½ -> √x;  x^−½ -> reciprocal √x;  x^−1, x¹"""
    match op:
        case ops.Mul(a=a, b=b) if a is b:
            return ops.Square(a)
        case ops.Mul(a=a, b=ops.Square(x=x)) if a is x:
            return ops.Mul(op.b, a)
        case ops.Pow(a=x, b=exponent):
            power = _power(x, public(exponent))
            if power.type.num != op.type.num:
                raise Refuse(f"a power of {x.type} is no {op.type.num}")
            return power if power.type == op.type else ops.Broadcast(power, op.type.shape)
    return None


def _power(x: Op, exponent: float | None) -> Op:
    if exponent == 1:
        return x
    if exponent == 2:
        return ops.Square(x)
    if exponent == 3:
        return ops.Mul(ops.Square(x), x)
    if exponent == 4:
        return ops.Square(ops.Square(x))
    if exponent == 0.5:
        return ops.Sqrt(x)
    if exponent == -0.5:
        return ops.Reciprocal(ops.Sqrt(x))
    if exponent == -1:
        return ops.Reciprocal(x)
    raise Refuse(
        "the exponent depends on data or a weight" if exponent is None else f"the exponent is {exponent:g}"
    )


def gather_constants(op: Op, uses: Uses) -> Op | None:
    """(x + c) + d -> x + (c + d);  (x · c) · d -> x · (c · d);  (−x) · c -> x · (−c);
    (x · c) · y -> (x · y) · c for a number c"""
    match op:
        case ops.Add(a=ops.Add(a=x, b=Const() as c) as inner, b=Const() as d) if c.type.num == d.type.num:
            pass
        case ops.Mul(a=ops.Mul(a=x, b=Const() as c) as inner, b=Const() as d) if c.type.num == d.type.num:
            pass
        case ops.Mul(a=ops.Neg(x=x), b=Const() as c):
            return ops.Mul(x, folded(ops.Neg(c)))
        case (
            ops.Mul(a=ops.Mul(a=x, b=Const() as c) as inner, b=y)
            | ops.Mul(a=y, b=ops.Mul(a=x, b=Const() as c) as inner)
        ) if c.type.size == 1 and uses[inner] == 1:
            return ops.Mul(ops.Mul(x, y), c)
        case _:
            return None
    if uses[inner] > 1:
        raise Refuse("what the inner constant gives has another user")
    return type(op)(x, folded(type(op)(c, d)))


def factor_of_product(op: Op, uses: Uses) -> Op | None:
    """(a · c) @ b, a @ (b · c) -> (a @ b) · c for a number c, where neither is a weight

    Before a weight the factor may belong to a function that is recognized later, the ½ of a GELU for one.
    """
    if not isinstance(op, ops.MatMul) or any(isinstance(each, Const) for each in op.operands):
        return None
    for i, each in enumerate(op.operands):
        match each:
            case ops.Mul(a=x, b=Const() as c) if c.type.size == 1 and x.type == each.type:
                if uses[each] > 1:
                    raise Refuse("what is scaled has another user")
                bare = (x, op.b) if i == 0 else (op.a, x)
                number = Const(c.value.reshape(()), c.secret, name=c.name)
                return ops.Mul(op.replace(bare).named(""), number)
    return None


def neutral(op: Op, uses: Uses) -> Op | None:
    """x + 0, x · 1, where a constant changes no shape -> x;  x ∧ true, x ∨ false -> x"""
    match op:
        case ops.And(a=x, b=Const(value=value, secret=False)) if value.all():
            return ops.Broadcast(x, op.type.shape)
        case ops.Or(a=x, b=Const(value=value, secret=False)) if not value.any():
            return ops.Broadcast(x, op.type.shape)
        case ops.Add(a=x, b=c) if is_all(c, 0) and x.type == op.type:
            return x
        case ops.Mul(a=x, b=c) if is_all(c, 1) and x.type == op.type:
            return x
        case ops.Where(condition=Const(value=value, secret=False), a=a) if value.all() and a.type == op.type:
            return a
        case ops.Where(condition=Const(value=value, secret=False), b=b) if (
            not value.any() and b.type == op.type
        ):
            return b
    return None


def bounds(op: Op, uses: Uses) -> Op | None:
    """max(x, 0) and clip to [0, ∞) -> relu x;  max(x, c), min(x, c) -> clip x, for a public number c"""
    match op:
        case ops.Max(a=x, b=c) if (lo := public(c)) is not None and x.type == op.type:
            return ops.Relu(x) if lo == 0 else ops.Clip(x, lo, None)
        case ops.Min(a=x, b=c) if (hi := public(c)) is not None and x.type == op.type:
            return ops.Clip(x, None, hi)
        case ops.Clip(x=x, lo=lo_, hi=None) if lo_ == 0:
            return ops.Relu(x)
        case ops.Relu(x=ops.Relu() as inner):
            return inner
    return None


def mean(op: Op, uses: Uses) -> Op | None:
    """Σ x · 1/n -> mean x, n the number of elements summed"""
    match op:
        case ops.Mul(a=ops.ReduceSum(x=x, axes=axes, keepdims=keepdims) as total, b=c) if (
            scalar(c) is not None
        ):
            n = x.type.size // total.type.size
            if total.type == op.type and math.isclose(scalar(c) or 0.0, 1 / n, rel_tol=1e-6):
                return ops.ReduceMean(x, axes, keepdims)
    return None


def conditions(op: Op, uses: Uses) -> Op | None:
    """where(¬c, a, b) -> where(c, b, a);  ¬¬x -> x;  where(isnan x, c, x) -> x

    The last leaves out a guard around a softmax: ours of a row that is masked as a whole is 0 by itself.
    """
    match op:
        case ops.Where(condition=ops.Not(x=c), a=a, b=b):
            return ops.Where(c, b, a)
        case ops.Not(x=ops.Not(x=x)):
            return x
        case ops.Where(condition=ops.IsNaN(x=x), b=b) if x is b and b.type == op.type:
            return b
    return None


RULES: tuple[Rule, ...] = (
    constant_right,
    subtraction,
    division,
    powers,
    gather_constants,
    factor_of_product,
    neutral,
    bounds,
    mean,
    conditions,
)
