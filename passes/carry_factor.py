"""The server's factors move on through a model, to where the weights that read a value take them.

    (x·c) @ W           -> x @ (c·W)                W a weight, c one number
    (x·c) @ y           -> (x @ y)·c                y shared
    (x·c)·y             -> (x·y)·c
    transpose(x·c)      -> transpose(x)·c'          and reshape
    (x·c) − mean(x·c)   -> (x − mean x)·c           c one number
    (x·c) + y           -> (x + y/c)·c              the same; y a constant, or made by a weight that takes 1/c

for constants c of the server's that are equal along each row. So a softmax's factor for each head ends in
the weight behind the heads (`passes/fold_affine.py` takes what has become a row), and that of a norm goes
past the residual sum to the next norm, to the one after it, and into what reads the last.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from ppc.frontend.ir import ops
from ppc.frontend.ir.graph import Graph, Op
from ppc.frontend.ir.ops import Const
from ppc.passes.fold_affine import is_row_mean
from ppc.passes.fold_scale import times
from ppc.passes.owners import Owners
from ppc.passes.rewrite import Refuse, Rewritten, Uses, apply

Array = NDArray[np.generic]


def carry_factor(graph: Graph) -> Rewritten:
    """The graph with factors as far on as they get; one that something else reads as well stays, lest it be
    multiplied by twice."""
    owners = Owners()

    def rule(op: Op, uses: Uses) -> Op | None:
        for scaled, other in _operands(op):
            found = _scaled(scaled, owners)
            if found is None:
                continue
            x, c = found
            if c.value.size == 1 and (folded := _in_weight(op, scaled, x, c)) is not None:
                return folded
            made = _past(op, other, x, c, owners)
            if made is None and c.value.size == 1:
                made = _past_number(op, scaled, other, x, c, uses)
            if made is not None:
                readers = 2 if isinstance(op, ops.Sub) else 1
                if uses[scaled] > readers:
                    raise Refuse("the scaled value has another user")
                return made
        return None

    return apply(rule, graph)


def _operands(op: Op) -> Iterator[tuple[Op, Op]]:
    """Each operand, and the other one, itself where there is none."""
    match op.operands:
        case (x,):
            yield x, x
        case (a, b):
            yield a, b
            yield b, a


def _scaled(op: Op, owners: Owners) -> tuple[Op, Const] | None:
    """x and c where op is x·c with a factor of the server's that is equal along rows."""
    match op:
        case ops.Mul(a=x, b=Const(secret=True) as c) | ops.Mul(a=Const(secret=True) as c, b=x):
            along_rows = c.value.ndim == 0 or c.value.shape[-1] == 1
            if along_rows and x.type.shape == op.type.shape and owners.shared(x) and c.value.all():
                return x, c
    return None


def _in_weight(op: Op, scaled: Op, x: Op, c: Const) -> Op | None:
    """c in a weight: for nothing, whoever else reads x·c."""
    match op:
        case ops.MatMul(a=a, b=Const() as w) if a is scaled and w.value.ndim == 2:
            value = (w.value * float(c.value.item())).astype(w.value.dtype)
            return replace(op, a=x, b=Const(value, secret=True, name=w.name))
    return None


def _past(op: Op, other: Op, x: Op, c: Const, owners: Owners) -> Op | None:
    """op with c behind it, where c may differ from row to row."""
    value = c.value.reshape((1,) * (x.type.rank - c.value.ndim) + c.value.shape)
    match op:
        case ops.Mul() if isinstance(other, Const) and other.secret:
            return ops.Mul(x, _factor(c.value * other.value))
        case ops.Mul() if owners.shared(op) and x.type.shape == op.type.shape:
            return ops.Mul(ops.Mul(x, other), c)
        case ops.MatMul(a=a, b=b) if not isinstance(other, Const) and value.shape[-2:] == (1, 1):
            pair = (x, b) if other is b else (a, x)
            return ops.Mul(op.replace(pair).named(""), c)
        case ops.Transpose(perm=perm):
            return ops.Mul(op.replace((x,)).named(""), _factor(value.transpose(perm)))
        case ops.Reshape():
            spread = np.broadcast_to(value, x.type.shape).reshape(op.type.shape)
            return ops.Mul(op.replace((x,)).named(""), _factor(spread))
    return None


def _past_number(op: Op, scaled: Op, other: Op, x: Op, c: Const, uses: Uses) -> Op | None:
    """The same where c must be one number."""
    match op:
        case ops.Sub(a=a, b=mean) if a is scaled and is_row_mean(mean, scaled):
            return ops.Mul(ops.Sub(x, _mean_of(mean, x)), c)
        case ops.Add() if x.type.shape == op.type.shape:
            return ops.Mul(ops.Add(x, times(other, 1 / float(c.value.item()), uses)), c)
    return None


def _mean_of(mean: Op, x: Op) -> Op:
    """``mean`` of x in place of what it is the mean of."""
    match mean:
        case ops.Mul(a=ops.ReduceSum() as total, b=part):
            return ops.Mul(total.replace((x,)), part)
    return mean.replace((x,))


def _factor(value: Array) -> Const:
    """No larger than it must be: of equal numbers along an axis one."""
    for axis, n in enumerate(value.shape):
        first = value.take([0], axis)
        if n > 1 and np.array_equal(np.broadcast_to(first, value.shape), value):
            value = first
    return Const(value.reshape(()) if value.size == 1 else value, secret=True)
