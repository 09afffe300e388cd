"""Products and sums of squares: which protocol makes each."""

from __future__ import annotations

import math
from functools import lru_cache

import msgspec
import numpy as np
from numpy.typing import NDArray

from ppc.backend import lower_rows
from ppc.backend.lowering import (
    Lowering,
    LoweringError,
    broadcast,
    const,
    fixed,
    integers,
    is_weight,
    readers,
    reshape,
    signed_bits,
)
from ppc.backend.spare import LEAST
from ppc.frontend.ir import ops
from ppc.frontend.ir.graph import Graph, Op, walk
from ppc.passes.errors import RangeError, place
from ppc.runtime.cost.rates import he_seconds
from ppc.runtime.he.product import Product
from ppc.runtime.he.tiling import TOSS, plan_product
from ppc.runtime.plan import steps
from ppc.runtime.plan.kept import rows_axis
from ppc.runtime.plan.local import packed
from ppc.runtime.protocols.matmul import at_once
from ppc.runtime.protocols.multiply import Rows
from ppc.runtime.protocols.row_products import Axes

MOST_ENTRIES = 1 << 11
"""Of one product's upload where several are worth making at once: half of the places that N = 4096 has."""

_COARSER = "Allow a larger --max-error, or scale its operands down in the model"


def product(state: Lowering, op: ops.MatMul) -> int:
    try:
        if op in state.merged:
            _linear_group(state, state.merged[op])
            return state.at[op]
        return _matmul(state, op)
    except ValueError as fault:
        if isinstance(fault, LoweringError | RangeError):
            raise
        raise RangeError(f"{place(op)}: {fault}. {_COARSER}") from None


def shared_operands(graph: Graph) -> dict[Op, tuple[ops.MatMul, ...]]:
    """Products of one shared operand with several weights: its masks are encrypted once for all of them."""
    by_operand: dict[tuple[Op, int], list[ops.MatMul]] = {}
    for op in walk(graph):
        if isinstance(op, ops.MatMul) and is_weight(op.b) and op.b.type.rank == 2 and not is_weight(op.a):
            by_operand.setdefault((op.a, fixed(op).bits), []).append(op)
    return {op: tuple(group) for group in by_operand.values() for op in group}


def _linear_group(state: Lowering, group: tuple[ops.MatMul, ...]) -> None:
    """x @ [W1 | W2 | …], then each its columns; scales may differ from part to part."""
    x = state.value(group[0].a)
    form = state.forms[x]
    parts = [integers(const(op.b).value, fixed(op.b)) for op in group]
    whole = np.concatenate(parts, axis=1)
    spare = min(state.spare[op] for op in group)
    product = _plan(state.together * math.prod(form.shape[:-1]), whole, form.num.bits, spare)
    name = group[0].name
    weight = state.weight(const(group[0].b).name, whole)
    if len(group) == 1:
        scale = fixed(group[0].b).scale
        state.at[group[0]] = state.put(
            steps.Linear(name=name, x=x, weight=weight, scale=scale, product=product, together=state.together)
        )
        return
    joined = state.put(
        steps.Linear(name=name, x=x, weight=weight, scale=0, product=product, together=state.together)
    )
    rest, at = form.shape[:-1], 0
    for op, part in zip(group, parts, strict=True):
        n = part.shape[1]
        cut = (*((0, d, 1) for d in rest), (at, at + n, 1))
        columns = state.put(steps.Slice(name=op.name, x=joined, cuts=cut))
        state.at[op] = state.put(
            steps.TimesInteger(name=op.name, x=columns, factor=1, scale=fixed(op.b).scale)
        )
        at += n


def _plan(m: int, w: NDArray[np.int64], ell: int, spare: int) -> Product:
    norm = float(np.sqrt((w.astype(np.float64) ** 2).sum(axis=0)).max())
    norm_bits = max(0, math.ceil(math.log2(max(norm, 1.0))))
    return plan_product(1, m, w.shape[0], w.shape[1], ell, he_seconds, spare=spare, norm_bits=norm_bits)


def _matmul(state: Lowering, op: ops.MatMul) -> int:
    """a @ b, both shared; a weight with batch axes becomes a share like any other."""
    if is_weight(op.a) and op.a.type.rank == 2:
        return _weight_product(state, op)
    batch = op.type.shape[:-2]
    a = broadcast(state, state.value(op.a), (*batch, *op.a.type.shape[-2:]))
    b = broadcast(state, state.value(op.b), (*batch, *op.b.type.shape[-2:]))
    m, k, n = op.a.type.shape[-2], op.a.type.shape[-1], op.b.type.shape[-1]
    ell, count = state.forms[a].num.bits, state.together * math.prod(batch)
    spare = max(LEAST, state.spare[op] - 1)  # of each of two that are added
    left = _batched((count, m, k, n), ell, spare, state.byte_price)
    right = _batched((count, n, k, m), ell, spare, state.byte_price)
    return state.put(steps.MatMul(name=op.name, a=a, b=b, left=left, right=right, together=state.together))


def mask_once(state: Lowering) -> None:
    """Products with rows that are kept, where several inferences' are made together: a row has one mask."""
    if state.together == 1:
        return
    for i, step in enumerate(state.program):
        if not isinstance(step, steps.MatMul):
            continue
        a, b = state.forms[step.a].shape, state.forms[step.b].shape
        axis = rows_axis(state.program, state.forms, step.b)
        if axis not in (len(b) - 2, len(b) - 1):
            continue
        count, m, k, n = math.prod(b[:-2]), state.together * a[-2], a[-1], b[-1]
        ell, spare = step.left.ell, step.left.spare
        state.program[i] = msgspec.structs.replace(
            step,
            kept="n" if axis == len(b) - 1 else "k",
            left=_batched((count, m, k, n), ell, spare, state.byte_price),
            right=_batched((count, n, k, m), ell, spare, state.byte_price),
        )


@lru_cache(maxsize=256)
def _batched(axes: Axes, ell: int, spare: int, byte_price: float) -> Product:
    """One of a batch at a time, or as many at once as cost least. Raises ValueError where none is carried."""

    def made(count: int) -> Product:
        return plan_product(
            *at_once(axes, count), ell, he_seconds, spare=spare, byte_price=byte_price, params=lower_rows.SETS
        )

    best, (batch, m, k, _) = made(1), axes
    if m * k >= MOST_ENTRIES:
        return best
    for count in range(2, batch + 1):
        if batch % count:
            continue
        try:
            several = made(count)
        except ValueError:  # its larger results leave less room for errors
            continue
        if lower_rows.price(several, byte_price) < (1 - TOSS) * lower_rows.price(best, byte_price):
            best = several
    return best


def _weight_product(state: Lowering, op: ops.MatMul) -> int:
    """W @ x as (xᵀ @ Wᵀ)ᵀ"""
    swap = (*range(op.b.type.rank - 2), op.b.type.rank - 1, op.b.type.rank - 2)
    turned = state.put(steps.Transpose(x=state.value(op.b), order=swap))
    w = np.ascontiguousarray(integers(const(op.a).value, fixed(op.a)).T)
    form = state.forms[turned]
    product = _plan(state.together * math.prod(form.shape[:-1]), w, form.num.bits, state.spare[op])
    weight = state.weight(const(op.a).name, w)
    scale = fixed(op.a).scale
    done = state.put(
        steps.Linear(
            name=op.name, x=turned, weight=weight, scale=scale, product=product, together=state.together
        )
    )
    return state.put(steps.Transpose(name=op.name, x=done, order=swap))


def mul(state: Lowering, op: ops.Mul) -> int:
    a, b = op.a, op.b
    for x, turn in ((a, b), (b, a)):
        if turn in state.tables:
            return _times_row(state, op, x, turn)
    if is_weight(a) or (math.prod(a.type.shape) < math.prod(b.type.shape) and not is_weight(b)):
        a, b = b, a
    match b:
        case ops.Const() if b.value.size == 1 and not b.secret:
            factor = int(integers(b.value, fixed(b)).reshape(()))
            done = state.put(
                steps.TimesInteger(name=op.name, x=state.value(a), factor=factor, scale=fixed(b).scale)
            )
            return reshape(state, done, op.type.shape)
        case ops.Const():
            left = broadcast(state, state.value(a), op.type.shape)
            w = integers(b.value, fixed(b))
            w = w.reshape((1,) * (op.type.rank - w.ndim) + w.shape)
            if not b.secret:
                factors = tuple(int(each) for each in w.ravel())
                return state.put(
                    steps.TimesPublic(
                        name=op.name, x=left, factors=factors, shape=w.shape, scale=fixed(b).scale
                    )
                )
            bits, rows = max(2, signed_bits(w) + 1), Rows(op.type.shape, w.shape)
            num = state.forms[left].num
            made = lower_rows.scaled(rows, num.bits, bits, state.spare[op], state.byte_price)
            return state.put(
                steps.Scaled(
                    name=op.name, x=left, weight=state.weight(b.name, w), shape=w.shape,
                    scale=fixed(b).scale, weight_bits=bits, product=made,
                )
            )  # fmt: skip
    left = broadcast(state, state.value(a), op.type.shape)
    right = state.value(b)
    rank = len(op.type.shape)
    right = reshape(state, right, (1,) * (rank - len(b.type.shape)) + b.type.shape)
    rows = Rows((state.together, *op.type.shape), (state.together, *state.forms[right].shape))
    num = state.forms[left].num
    both = lower_rows.multiply(rows, num.bits, state.spare[op], state.byte_price)
    if both is None:
        return state.put(steps.Multiply(name=op.name, a=left, b=right))
    one, two = both
    return state.put(
        steps.Multiply(name=op.name, a=left, b=right, left=one, right=two, together=state.together)
    )


def _times_row(state: Lowering, op: ops.Mul, x: Op, factor: Op) -> int:
    left, table = broadcast(state, state.value(x), op.type.shape), state.tables[factor]
    shape = (len(table), *(1,) * (op.type.rank - factor.type.rank), *factor.type.shape)
    return state.put(
        steps.TimesRow(name=op.name, x=left, table=packed(table.reshape(shape)), scale=fixed(factor).scale)
    )


# ---- sums and the rest


def summed(graph: Graph) -> frozenset[Op]:
    """Squares that nothing reads but one sum over the last axis."""
    kept = set(graph.outputs.values())
    return frozenset(
        x
        for x, by in readers(graph).items()
        if isinstance(x, ops.Square) and x not in kept and len(by) == 1 and _over_last(by[0])
    )


def _over_last(op: Op) -> bool:
    return isinstance(op, ops.ReduceSum) and [a % op.x.type.rank for a in op.axes] == [op.x.type.rank - 1]


def square_sum(state: Lowering, op: ops.ReduceSum, squares: Op) -> int:
    assert isinstance(squares, ops.Square)
    x = state.value(squares.x)
    form = state.forms[x]
    groups, length = state.together * math.prod(form.shape[:-1]), form.shape[-1]
    made = lower_rows.square_sum(groups, length, form.num.bits, state.spare[op], state.byte_price)
    if made is None:
        each = state.put(steps.Square(name=squares.name, x=x))
        done = state.put(steps.Sum(name=op.name, x=each, axes=(len(form.shape) - 1,)))
    else:
        done = state.put(steps.SquareSum(name=op.name, x=x, product=made, together=state.together))
    return reshape(state, done, op.type.shape)
