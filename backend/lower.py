"""From a fixed-point graph to a plan and the server's weights: one small function an op."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

from ppc.backend.choose import choose_products
from ppc.backend.choose_senders import choose_senders
from ppc.backend.guard import watch_argument, watch_maximum
from ppc.backend.lower_counted import by_rows
from ppc.backend.lower_local import cuts
from ppc.backend.lower_products import mask_once, mul, product, shared_operands, square_sum, summed
from ppc.backend.lower_spline import integer_spline
from ppc.backend.lowering import (
    Lowering,
    LoweringError,
    const,
    fixed,
    reshape,
    signed_bits,
)
from ppc.backend.spare import spare_bits
from ppc.frontend.ir import ops
from ppc.frontend.ir.graph import BOOL, INT, Graph, Input, Op, Owner, walk
from ppc.passes.draw_inputs import Assumed
from ppc.passes.errors import weightless
from ppc.passes.owners import owners
from ppc.runtime.base.ring import Fixed
from ppc.runtime.plan import steps
from ppc.runtime.plan.file import Bound, InputSpec, Options, OutputSpec, Plan, Weights, WeightSpec


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
    owner = owners(graph)
    state = Lowering(
        graph,
        owner,
        spare_bits(graph),
        shared_operands(graph),
        summed(graph),
        options.byte_price,
        options.flight,
        options.together,
        dict(carried or {}),
        by_rows(graph, owner, carried or {}),
    )
    for op in walk(graph):
        if op in state.at or op in state.summed or isinstance(op, (Input, ops.Const)):
            continue
        if state.owner[op] in (Owner.CLIENT, Owner.PUBLIC):
            if isinstance(op.type.num, Fixed) and op not in state.tables:
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
            best = steps.Maximum(x=value, argmax=True, flight=state.flight)
            value, shape = state.put(best), shape[:-1]
        index = state.put(steps.Output(name=name, x=value))
        outputs.append(OutputSpec(name=name, value=index, shape=shape))
    mask_once(state)
    plan = Plan(
        model=model,
        profile=profile,
        options=options,
        inputs=tuple(
            _input(state, each, assumed.get(each.name)) for each in graph.inputs if not each.carried
        ),
        outputs=tuple(outputs),
        weights=tuple(
            WeightSpec(name=name, shape=w.shape, bits=signed_bits(w)) for name, w in state.weights.items()
        ),
        local=tuple(state.locals),
        steps=choose_products(state.program, options.byte_price),  # type: ignore[arg-type]
        guard=guard,
    )
    return choose_senders(plan), state.weights


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
    return state.put(
        steps.Spline(name=op.name, x=x, spec=spec, function=op.spline.function, flight=state.flight)
    )


def _sum(state: Lowering, op: ops.ReduceSum) -> int:
    if op.x in state.summed:
        return square_sum(state, op, op.x)
    rank = op.x.type.rank
    done = state.put(
        steps.Sum(name=op.name, x=state.value(op.x), axes=tuple(sorted(a % rank for a in op.axes)))
    )
    return reshape(state, done, op.type.shape)


def _max(state: Lowering, op: ops.ReduceMax) -> int:
    rank = op.x.type.rank
    if tuple(a % rank for a in op.axes) != (rank - 1,):
        raise LoweringError(f"{op!r}: a maximum over other axes than the last")
    drop = _max_drop(fixed(op.x)) if op.steadies else 0
    done = state.put(steps.Maximum(name=op.name, x=state.value(op.x), drop=drop, flight=state.flight))
    return reshape(state, done, op.type.shape)


def _max_drop(num: Fixed) -> int:
    """The maximum steadies an exponential, which bears one that is short by 1/4 (`SLACK`)."""
    return max(0, min(num.scale - 2, num.bits - 4))


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
    places = const(op.indices).value.ravel() % op.x.type.shape[axis]
    done = state.put(steps.Take(name=op.name, x=state.value(op.x), axis=axis, places=tuple(places.tolist())))
    return reshape(state, done, op.type.shape)


def _concat(state: Lowering, op: ops.Concat) -> int:
    parts = tuple(state.value(x) for x in op.xs)
    return state.put(steps.Concat(name=op.name, parts=parts, axis=op.axis % op.type.rank))


RULES: dict[type[Op], Callable[[Lowering, Any], int]] = {
    ops.Cast: _recall,
    ops.MatMul: product,
    ops.Mul: mul,
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
