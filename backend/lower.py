"""From a fixed-point graph to a plan and the server's weights: one small function an op."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ppc.backend import lower_rows
from ppc.backend.choose import choose_products
from ppc.backend.guard import watch_argument, watch_maximum
from ppc.backend.lower_local import cuts, local_op
from ppc.backend.lower_spline import integer_spline
from ppc.backend.spare import LEAST, spare_bits
from ppc.frontend.ir import ops
from ppc.frontend.ir.graph import BOOL, INT, Graph, Input, Op, Owner, walk
from ppc.passes.draw_inputs import Assumed
from ppc.passes.errors import RangeError, place, weightless
from ppc.passes.owners import owners
from ppc.runtime.base.errors import Error
from ppc.runtime.base.ring import Fixed
from ppc.runtime.cost.rates import he_seconds
from ppc.runtime.he.product import Product
from ppc.runtime.he.tiling import plan_product
from ppc.runtime.plan import steps
from ppc.runtime.plan.file import Bound, InputSpec, Options, OutputSpec, Plan, Weights, WeightSpec
from ppc.runtime.plan.local import LocalOp
from ppc.runtime.protocols.multiply import Rows


class LoweringError(Error, ValueError):
    """An op that no protocol computes for the owners and formats at hand."""

    exit_status = 3


@dataclass(repr=False)
class Lowering:
    """The plan as it grows. ``at`` maps ops to steps, ``local`` ops to the client's own values."""

    graph: Graph
    owner: dict[Op, Owner]
    spare: dict[Op, int]
    merged: dict[Op, tuple[ops.MatMul, ...]]
    summed: frozenset[Op]
    byte_price: float
    carried: dict[str, int]
    program: list[steps.Step] = field(default_factory=list)
    forms: list[steps.Form] = field(default_factory=list)
    at: dict[Op, int] = field(default_factory=dict)
    locals: list[LocalOp] = field(default_factory=list)
    local_at: dict[Op, int] = field(default_factory=dict)
    weights: Weights = field(default_factory=dict)
    public: dict[str, tuple[int, ...]] = field(default_factory=dict)

    def put(self, step: steps.Step) -> int:
        try:
            self.forms.append(step.infer(*(self.forms[i] for i in step.reads())))
        except ValueError as error:
            raise LoweringError(f"{step.name or type(step).__name__}: {error}") from None
        self.program.append(step)
        return len(self.program) - 1

    def weight(self, name: str, values: NDArray[np.int64]) -> str:
        """Keep a tensor for the server, under a name not yet taken."""
        unique, n = name or "weight", 1
        while unique in self.weights:
            n += 1
            unique = f"{name or 'weight'}.{n}"
        self.weights[unique] = values
        return unique

    def local(self, op: Op) -> int:
        """The client's own value of ``op``."""
        if op not in self.local_at:
            args = tuple(self.local(each) for each in op.operands)
            self.locals.append(local_op(op, args))
            self.local_at[op] = len(self.locals) - 1
        return self.local_at[op]

    def value(self, op: Op) -> int:
        """The step whose value ``op`` is; constants enter when first asked for."""
        if op not in self.at:
            num = fixed(op)
            match op:
                case ops.Const(secret=False) if op.value.size <= 64:
                    flat = tuple(int(v) for v in integers(op.value, num).ravel())
                    step: steps.Step = steps.Public(name=op.name, values=flat, num=num, shape=op.type.shape)
                case ops.Const():
                    weight = self.weight(op.name, integers(op.value, num))
                    step = steps.Weight(name=op.name, weight=weight, num=num, shape=op.type.shape)
                case _:
                    raise LoweringError(f"{op!r} is needed before it is computed")
            self.at[op] = self.put(step)
        return self.at[op]


def lower(
    graph: Graph,
    *,
    model: str,
    profile: str,
    options: Options,
    inputs: Sequence[Assumed] = (),
    argmaxes: Collection[str] = (),
    carried: Mapping[str, int] | None = None,
    watched: Mapping[Op, float] | None = None,
    locate: bool = False,
) -> tuple[Plan, Weights]:
    """The plan of a graph whose shared values are all fixed-point, and the server's integers.

    ``inputs`` is what calibration assumed of the graph's: the client is held to it. Of the outputs in
    ``argmaxes`` it learns where the largest number of the last axis stands, and no number, and nothing of
    those in ``carried``, whose rows along that axis are kept for the next run's inputs of the name.
    ``watched`` is what a guard watches, and with ``locate`` it tells the client which of it left its limits.
    """
    assumed = {each.name: each for each in inputs}
    state = Lowering(
        graph,
        owners(graph),
        spare_bits(graph),
        _shared_operands(graph),
        _summed(graph),
        options.byte_price,
        dict(carried or {}),
    )
    for op in walk(graph):
        if op in state.at or op in state.summed or isinstance(op, (Input, ops.Const)):
            continue
        if state.owner[op] in (Owner.CLIENT, Owner.PUBLIC):
            if isinstance(op.type.num, Fixed):
                state.at[op] = _encode(state, op)
            continue
        rule = RULES.get(type(op))
        if rule is None:
            raise LoweringError(f"{op!r}: no protocol computes {type(op).__name__} on shared values")
        state.at[op] = rule(state, op)
    guard = _guard(state, watched or {}, locate)
    outputs = []
    for name, op in graph.outputs.items():
        if op not in state.at and state.owner[op] is not Owner.SHARED:
            raise LoweringError(weightless(name))
        value, shape = state.value(op), op.type.shape
        if carried and name in carried:
            state.put(steps.Keep(name=op.name, x=value, state=name, axis=carried[name]))
            continue
        if name in argmaxes:
            value, shape = state.put(steps.Maximum(x=value, argmax=True)), shape[:-1]
        index = state.put(steps.Output(name=name, x=value))
        outputs.append(OutputSpec(name=name, value=index, shape=shape))
    plan = Plan(
        model=model,
        profile=profile,
        options=options,
        inputs=tuple(
            _input(state, each, assumed.get(each.name)) for each in graph.inputs if not each.carried
        ),
        outputs=tuple(outputs),
        weights=tuple(
            WeightSpec(name=name, shape=w.shape, bits=_signed_bits(w)) for name, w in state.weights.items()
        ),
        local=tuple(state.locals),
        steps=choose_products(state.program, options.byte_price),  # type: ignore[arg-type]
        guard=guard,
    )
    return plan, state.weights


def _guard(state: Lowering, watched: Mapping[Op, float], locate: bool) -> int | None:
    """The step that watches; None where there is nothing to watch."""
    found = []
    for op, held in watched.items():
        made = state.program[state.at[op]]
        if isinstance(op, ops.Spline):
            assert isinstance(made, steps.Spline)
            found.append(watch_argument(made.x, state.forms[made.x].num, made, held))
        else:
            found.append(watch_maximum(state.at[op], state.forms[state.at[op]].num, held))
    return state.put(steps.Guard(watched=tuple(found), locate=locate)) if found else None


def fixed(op: Op) -> Fixed:
    if not isinstance(op.type.num, Fixed):
        raise LoweringError(f"{op!r} is shared, but has no fixed-point format")
    return op.type.num


def integers(values: NDArray[np.generic], num: Fixed) -> NDArray[np.int64]:
    """Constants as signed integers of ``num``; raises where one does not fit."""
    try:
        return num.signed(num.encode(np.asarray(values, np.float64)))
    except OverflowError as error:
        raise LoweringError(f"a constant: {error}") from None


def _signed_bits(w: NDArray[np.int64]) -> int:
    return 1 + max(
        int(w.max(initial=0)).bit_length(),
        (-int(w.min(initial=0)) - 1).bit_length() if w.min(initial=0) < 0 else 0,
    )


def _input(state: Lowering, op: Input, assumed: Assumed | None) -> InputSpec:
    """What the client must bring; ids that look up a table are bounded by it, others as in calibration."""
    depth = None
    for user in state.owner:
        if isinstance(user, ops.OneHot) and _source(user.ids) is op:
            depth = user.depth if depth is None else min(depth, user.depth)
    kind = "int" if op.type.num == INT else "bool" if op.type.num == BOOL else "float"
    if depth:
        return InputSpec(op.name, op.type.shape, kind, 0, depth - 1)
    if assumed is None:
        return InputSpec(op.name, op.type.shape, kind)
    bound: Bound = "table" if assumed.rows else "samples" if assumed.calibrated else "assumed"
    low, high = assumed.low, assumed.high
    if kind != "float":
        low, high = int(low), int(high)
    return InputSpec(op.name, op.type.shape, kind, low, high, bound)


def _source(op: Op) -> Op:
    while isinstance(op, (ops.Reshape, ops.Cast, ops.Broadcast, ops.Transpose)):
        op = op.x
    return op


def _encode(state: Lowering, op: Op) -> int:
    """The client's own value enters the computation."""
    num = fixed(op)
    source = state.local(op.x) if isinstance(op, ops.Cast) else state.local(op)
    return state.put(steps.Encode(name=op.name, local=source, num=num, shape=op.type.shape))


def _recall(state: Lowering, op: ops.Cast) -> int:
    """What earlier runs have kept enters."""
    name, axis = op.x.name, state.carried[op.x.name]
    return state.put(steps.Recall(name=op.name, state=name, num=fixed(op), shape=op.type.shape, axis=axis))


# ---- products


_COARSER = "Allow a larger --max-error, or scale its operands down in the model"


def _product(state: Lowering, op: ops.MatMul) -> int:
    try:
        if op in state.merged:
            _linear_group(state, state.merged[op])
            return state.at[op]
        return _matmul(state, op)
    except ValueError as fault:
        if isinstance(fault, LoweringError | RangeError):
            raise
        raise RangeError(f"{place(op)}: {fault}. {_COARSER}") from None


def _is_weight(op: Op) -> bool:
    return isinstance(op, ops.Const)


def _shared_operands(graph: Graph) -> dict[Op, tuple[ops.MatMul, ...]]:
    """Products of one shared operand with several weights: its masks are encrypted once for all of them."""
    by_operand: dict[tuple[Op, int], list[ops.MatMul]] = {}
    for op in walk(graph):
        if isinstance(op, ops.MatMul) and _is_weight(op.b) and op.b.type.rank == 2 and not _is_weight(op.a):
            by_operand.setdefault((op.a, fixed(op).bits), []).append(op)
    return {op: tuple(group) for group in by_operand.values() for op in group}


def _linear_group(state: Lowering, group: tuple[ops.MatMul, ...]) -> None:
    """x @ [W1 | W2 | …], then each its columns; scales may differ from part to part."""
    x = state.value(group[0].a)
    form = state.forms[x]
    parts = [integers(_const(op.b).value, fixed(op.b)) for op in group]
    whole = np.concatenate(parts, axis=1)
    spare = min(state.spare[op] for op in group)
    product = _plan(math.prod(form.shape[:-1]), whole, form.num.bits, spare)
    name = group[0].name
    weight = state.weight(_const(group[0].b).name, whole)
    if len(group) == 1:
        scale = fixed(group[0].b).scale
        state.at[group[0]] = state.put(
            steps.Linear(name=name, x=x, weight=weight, scale=scale, product=product)
        )
        return
    joined = state.put(steps.Linear(name=name, x=x, weight=weight, scale=0, product=product))
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


def _const(op: Op) -> ops.Const:
    assert isinstance(op, ops.Const)
    return op


def _matmul(state: Lowering, op: ops.MatMul) -> int:
    """a @ b, both shared; a weight with batch axes becomes a share like any other."""
    if _is_weight(op.a) and op.a.type.rank == 2:
        return _weight_product(state, op)
    batch = op.type.shape[:-2]
    a = _broadcast(state, state.value(op.a), (*batch, *op.a.type.shape[-2:]))
    b = _broadcast(state, state.value(op.b), (*batch, *op.b.type.shape[-2:]))
    m, k, n = op.a.type.shape[-2], op.a.type.shape[-1], op.b.type.shape[-1]
    ell, count = state.forms[a].num.bits, math.prod(batch)
    spare = max(LEAST, state.spare[op] - 1)  # of each of two that are added
    left = plan_product(count, m, k, n, ell, he_seconds, spare=spare)
    right = plan_product(count, n, k, m, ell, he_seconds, spare=spare)
    return state.put(steps.MatMul(name=op.name, a=a, b=b, left=left, right=right))


def _weight_product(state: Lowering, op: ops.MatMul) -> int:
    """W @ x as (xᵀ @ Wᵀ)ᵀ"""
    swap = (*range(op.b.type.rank - 2), op.b.type.rank - 1, op.b.type.rank - 2)
    turned = state.put(steps.Transpose(x=state.value(op.b), order=swap))
    w = np.ascontiguousarray(integers(_const(op.a).value, fixed(op.a)).T)
    form = state.forms[turned]
    product = _plan(math.prod(form.shape[:-1]), w, form.num.bits, state.spare[op])
    weight = state.weight(_const(op.a).name, w)
    done = state.put(
        steps.Linear(name=op.name, x=turned, weight=weight, scale=fixed(op.a).scale, product=product)
    )
    return state.put(steps.Transpose(name=op.name, x=done, order=swap))


def _mul(state: Lowering, op: ops.Mul) -> int:
    a, b = op.a, op.b
    if _is_weight(a) or (math.prod(a.type.shape) < math.prod(b.type.shape) and not _is_weight(b)):
        a, b = b, a
    match b:
        case ops.Const() if b.value.size == 1 and not b.secret:
            factor = int(integers(b.value, fixed(b)).reshape(()))
            done = state.put(
                steps.TimesInteger(name=op.name, x=state.value(a), factor=factor, scale=fixed(b).scale)
            )
            return _reshape(state, done, op.type.shape)
        case ops.Const():
            left = _broadcast(state, state.value(a), op.type.shape)
            w = integers(b.value, fixed(b))
            w = w.reshape((1,) * (op.type.rank - w.ndim) + w.shape)
            if not b.secret:
                factors = tuple(int(each) for each in w.ravel())
                return state.put(
                    steps.TimesPublic(
                        name=op.name, x=left, factors=factors, shape=w.shape, scale=fixed(b).scale
                    )
                )
            bits, rows = max(2, _signed_bits(w) + 1), Rows(op.type.shape, w.shape)
            num = state.forms[left].num
            made = lower_rows.scaled(rows, num.bits, bits, state.spare[op], state.byte_price)
            return state.put(
                steps.Scaled(
                    name=op.name, x=left, weight=state.weight(b.name, w), shape=w.shape,
                    scale=fixed(b).scale, weight_bits=bits, product=made,
                )
            )  # fmt: skip
    left = _broadcast(state, state.value(a), op.type.shape)
    right = state.value(b)
    rank = len(op.type.shape)
    right = _reshape(state, right, (1,) * (rank - len(b.type.shape)) + b.type.shape)
    rows = Rows(op.type.shape, state.forms[right].shape)
    num = state.forms[left].num
    both = lower_rows.multiply(rows, num.bits, state.spare[op], state.byte_price)
    one, two = both or (None, None)
    return state.put(steps.Multiply(name=op.name, a=left, b=right, left=one, right=two))


# ---- sums and the rest


def _add(state: Lowering, op: ops.Add) -> int:
    return state.put(steps.Add(name=op.name, a=state.value(op.a), b=state.value(op.b)))


def _sub(state: Lowering, op: ops.Sub) -> int:
    negative = state.put(steps.TimesInteger(x=state.value(op.b), factor=-1))
    return state.put(steps.Add(name=op.name, a=state.value(op.a), b=negative))


def _neg(state: Lowering, op: ops.Neg) -> int:
    return state.put(steps.TimesInteger(name=op.name, x=state.value(op.x), factor=-1))


def _square(state: Lowering, op: ops.Square) -> int:
    return state.put(steps.Square(name=op.name, x=state.value(op.x)))


def _rescale(state: Lowering, op: ops.Rescale) -> int:
    return state.put(steps.Rescale(name=op.name, x=state.value(op.x), num=op.num))


def _spline(state: Lowering, op: ops.Spline) -> int:
    num, out = fixed(op.x), fixed(op)
    quad, width = op.quad or num, op.width or num.bits
    x = state.value(op.x)
    if quad.bits > num.bits:
        x = state.put(steps.Rescale(x=x, num=num.with_bits(quad.bits)))
    try:
        spec = integer_spline(op.spline, num, quad, width, out)
    except ValueError as error:
        raise LoweringError(f"{op!r}: {error}") from None
    return state.put(steps.Spline(name=op.name, x=x, spec=spec, function=op.spline.function))


def _summed(graph: Graph) -> frozenset[Op]:
    """Squares that nothing reads but one sum over the last axis."""
    readers: dict[Op, list[Op]] = {}
    for op in walk(graph):
        for x in op.operands:
            readers.setdefault(x, []).append(op)
    kept = set(graph.outputs.values())
    return frozenset(
        x
        for x, by in readers.items()
        if isinstance(x, ops.Square) and x not in kept and len(by) == 1 and _over_last(by[0])
    )


def _over_last(op: Op) -> bool:
    return isinstance(op, ops.ReduceSum) and [a % op.x.type.rank for a in op.axes] == [op.x.type.rank - 1]


def _sum(state: Lowering, op: ops.ReduceSum) -> int:
    if op.x in state.summed:
        return _square_sum(state, op, op.x)
    rank = op.x.type.rank
    done = state.put(
        steps.Sum(name=op.name, x=state.value(op.x), axes=tuple(sorted(a % rank for a in op.axes)))
    )
    return _reshape(state, done, op.type.shape)


def _square_sum(state: Lowering, op: ops.ReduceSum, squares: Op) -> int:
    assert isinstance(squares, ops.Square)
    x = state.value(squares.x)
    form = state.forms[x]
    groups, length = math.prod(form.shape[:-1]), form.shape[-1]
    made = lower_rows.square_sum(groups, length, form.num.bits, state.spare[op], state.byte_price)
    if made is None:
        each = state.put(steps.Square(name=squares.name, x=x))
        done = state.put(steps.Sum(name=op.name, x=each, axes=(len(form.shape) - 1,)))
    else:
        done = state.put(steps.SquareSum(name=op.name, x=x, product=made))
    return _reshape(state, done, op.type.shape)


def _max(state: Lowering, op: ops.ReduceMax) -> int:
    rank = op.x.type.rank
    if tuple(a % rank for a in op.axes) != (rank - 1,):
        raise LoweringError(f"{op!r}: a maximum over other axes than the last")
    done = state.put(steps.Maximum(name=op.name, x=state.value(op.x), drop=_max_drop(fixed(op.x))))
    return _reshape(state, done, op.type.shape)


def _max_drop(num: Fixed) -> int:
    """The maximum steadies an exponential, which bears a maximum that is short by 1/32 a round."""
    return max(0, min(num.scale - 5, num.bits - 4))


def _reshape_op(state: Lowering, op: ops.Reshape) -> int:
    return state.put(steps.Reshape(name=op.name, x=state.value(op.x), shape=op.type.shape))


def _transpose(state: Lowering, op: ops.Transpose) -> int:
    return state.put(steps.Transpose(name=op.name, x=state.value(op.x), order=op.perm))


def _broadcast_op(state: Lowering, op: ops.Broadcast) -> int:
    return state.put(steps.Broadcast(name=op.name, x=state.value(op.x), shape=op.type.shape))


def _slice(state: Lowering, op: ops.Slice) -> int:
    return state.put(steps.Slice(name=op.name, x=state.value(op.x), cuts=cuts(op)))


def _gather(state: Lowering, op: ops.Gather) -> int:
    """x at places that both know."""
    axis = op.axis % op.x.type.rank
    places = _const(op.indices).value.ravel() % op.x.type.shape[axis]
    done = state.put(steps.Take(name=op.name, x=state.value(op.x), axis=axis, places=tuple(places.tolist())))
    return _reshape(state, done, op.type.shape)


def _concat(state: Lowering, op: ops.Concat) -> int:
    parts = tuple(state.value(x) for x in op.xs)
    return state.put(steps.Concat(name=op.name, parts=parts, axis=op.axis % op.type.rank))


def _reshape(state: Lowering, x: int, shape: tuple[int, ...]) -> int:
    if state.forms[x].shape == shape:
        return x
    return state.put(steps.Reshape(name=state.program[x].name, x=x, shape=shape))


def _broadcast(state: Lowering, x: int, shape: tuple[int, ...]) -> int:
    if state.forms[x].shape == shape:
        return x
    return state.put(steps.Broadcast(x=x, shape=shape))


RULES: dict[type[Op], Callable[[Lowering, Any], int]] = {
    ops.Cast: _recall,
    ops.MatMul: _product,
    ops.Mul: _mul,
    ops.Add: _add,
    ops.Sub: _sub,
    ops.Neg: _neg,
    ops.Square: _square,
    ops.Rescale: _rescale,
    ops.Spline: _spline,
    ops.ReduceSum: _sum,
    ops.ReduceMax: _max,
    ops.Reshape: _reshape_op,
    ops.Transpose: _transpose,
    ops.Broadcast: _broadcast_op,
    ops.Slice: _slice,
    ops.Gather: _gather,
    ops.Concat: _concat,
}
