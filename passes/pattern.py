"""Small tools for recognizing formulas: constants within a tolerance, scalar factors, polynomials."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np

from ppc.frontend.ir import ops
from ppc.frontend.ir.graph import Op
from ppc.frontend.ir.ops import scalar

TOLERANCE = 1e-4
"""Relative; exporters write √2 with as few as five digits."""

_DEEPEST = 12
_DEGREE = 3

Polynomial = dict[int, float]
"""Coefficients by power; zero ones are left out."""


def public(op: Op) -> float | None:
    """The number in a constant of one element that is public, and so may become part of an op."""
    return None if isinstance(op, ops.Const) and op.secret else scalar(op)


def close(a: float | None, b: float) -> bool:
    return a is not None and math.isclose(a, b, rel_tol=TOLERANCE)


def is_all(op: Op, value: float) -> bool:
    """Whether op is a constant with ``value`` in every place, and not one that nobody may know of."""
    if not isinstance(op, ops.Const) or op.secret or op.value.dtype.kind not in "fi":
        return False
    return bool(np.all(op.value == value))


def scaled(op: Op) -> Iterator[tuple[float, Op]]:
    """All (c, x) with op = c·x for a number c, from c = 1 on down through the factors."""
    factor = 1.0
    while True:
        yield factor, op
        match op:
            case ops.Mul(a=x, b=b) if (c := scalar(b)) is not None and x.type.shape == op.type.shape:
                factor, op = factor * c, x
            case ops.Neg(x=x):
                factor, op = -factor, x
            case _:
                return


def polynomial(op: Op, x: Op, depth: int = _DEEPEST) -> Polynomial | None:
    """op as a polynomial in x of degree 3 at most, None where it is none."""
    if op is x:
        return {1: 1.0}
    if (c := scalar(op)) is not None:
        return {0: c} if c else {}
    if depth == 0:
        return None
    below = [polynomial(each, x, depth - 1) for each in op.operands]
    match op, below:
        case ops.Add(), [dict(p), dict(q)]:
            return _sum(p, q, 1.0)
        case ops.Sub(), [dict(p), dict(q)]:
            return _sum(p, q, -1.0)
        case ops.Mul(), [dict(p), dict(q)]:
            return _product(p, q)
        case ops.Square(), [dict(p)]:
            return _product(p, p)
        case ops.Neg(), [dict(p)]:
            return _sum({}, p, -1.0)
    return None


def beyond(op: Op, x: Op) -> Iterator[Op]:
    """What op is made of, but for x and what that is made of."""
    stack, seen = [op], {x}
    while stack:
        each = stack.pop()
        if each not in seen:
            seen.add(each)
            yield each
            stack += each.operands


def _sum(p: Polynomial, q: Polynomial, sign: float) -> Polynomial:
    both = {power: p.get(power, 0.0) + sign * q.get(power, 0.0) for power in {*p, *q}}
    return {power: c for power, c in both.items() if c}


def _product(p: Polynomial, q: Polynomial) -> Polynomial | None:
    out: Polynomial = {}
    for i, a in p.items():
        for j, b in q.items():
            out[i + j] = out.get(i + j, 0.0) + a * b
    return out if all(power <= _DEGREE for power in out) else None


def same_polynomial(p: Polynomial | None, q: Polynomial) -> bool:
    return p is not None and p.keys() == q.keys() and all(close(p[power], c) for power, c in q.items())
