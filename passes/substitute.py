"""Replace operators by what two parties can compute, each entry with its error and price.

Two steps. ``decompose`` needs no numbers: softmax, LayerNorm and division become sums, squares, exp and
reciprocals, and the look-up of private ids a product with one-hot rows. ``approximate`` then replaces every
function of one shared value by a spline, fitted on that value's calibrated range where it has no tails.
What one party knows alone it computes alone, in floating point, and is left as it is.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from ppc.frontend.ir import ops
from ppc.frontend.ir.graph import Graph, Op, rebuild, uses, walk
from ppc.frontend.ir.spline import SplineSpec
from ppc.passes import functions, octaves
from ppc.passes.errors import REMEDY, RangeError, place
from ppc.passes.owners import Owners
from ppc.passes.pattern import public
from ppc.passes.ranges import SLACK, Range, Ranges
from ppc.passes.spline_fit import FitError


@dataclass(frozen=True)
class Decomposition:
    """``build(op)`` computes ``formula``, exactly; None where this op needs no other form."""

    op: type[Op]
    name: str
    build: Callable[[Any], Op | None]
    formula: str
    cost: str


@dataclass(frozen=True)
class Approximation:
    """``spline(op, range of the operand)`` stands for the op's function.

    ``domain`` is where it holds, ``error`` that of its fit: √∫(s − f)², or the largest in proportion for
    functions without tails.
    """

    op: type[Op]
    name: str
    spline: Callable[[Any, Range], SplineSpec]
    replaces: str
    domain: str
    error: float
    cost: str


def scalar(value: float) -> ops.Const:
    """A public constant."""
    return ops.Const(np.array(value, np.float32), secret=False)


def _softmax(op: ops.Softmax) -> Op:
    axes = (op.axis % op.type.rank,)
    e = ops.Exp(ops.Sub(op.x, ops.ReduceMax(op.x, axes=axes, keepdims=True, steadies=True)))
    return ops.Mul(e, ops.Reciprocal(ops.ReduceSum(e, axes=axes, keepdims=True)))


def _normalised(c: Op, eps: float) -> Op:
    """c/√(mean c² + ε)·(1/√n): with the sum for the mean, n is left to the constant that multiplies next."""
    n = c.type.shape[-1]
    total = ops.ReduceSum(ops.Square(c), axes=(c.type.rank - 1,), keepdims=True)
    return ops.Mul(c, ops.Reciprocal(ops.Sqrt(ops.Add(total, scalar(n * eps)))))


def _layer_norm(op: ops.LayerNorm) -> Op:
    mean = _mean(ops.ReduceMean(op.x, axes=(op.type.rank - 1,), keepdims=True))
    scaled = ops.Mul(_normalised(ops.Sub(op.x, mean), op.eps), _times_root(op.gamma, op.type.shape[-1]))
    return ops.Add(scaled, op.beta)


def _rms_norm(op: ops.RMSNorm) -> Op:
    return ops.Mul(_normalised(op.x, op.eps), _times_root(op.gamma, op.type.shape[-1]))


def _times_root(gamma: Op, n: int) -> Op:
    match gamma:
        case ops.Const(value=value, secret=secret):
            return ops.Const(np.asarray(value * math.sqrt(n), np.float32), secret=secret, name=gamma.name)
    return ops.Mul(gamma, scalar(math.sqrt(n)))


def _mean(op: ops.ReduceMean) -> Op:
    count = math.prod(op.x.type.shape[axis] for axis in op.axes)
    return ops.Mul(ops.ReduceSum(op.x, axes=op.axes, keepdims=op.keepdims), scalar(1 / count))


def _div(op: ops.Div) -> Op:
    match op.b:
        case ops.Const(value=value, secret=secret):
            return ops.Mul(op.a, ops.Const(np.asarray(1 / value, np.float32), secret=secret, name=op.b.name))
    return ops.Mul(op.a, ops.Reciprocal(op.b))


def _embedding(op: ops.Gather) -> Op | None:
    match op.x:
        case ops.Const(value=value) if op.axis == 0 and value.ndim == 2 and op.indices.type.rank:
            return ops.MatMul(ops.OneHot(op.indices, value.shape[0]), op.x)
    return None


def _pick(op: ops.Gather) -> Op | None:
    """One place of an axis, known to both: a slice (the first token, for one)."""
    at = public(op.indices)
    if at is None:
        return None
    axis, place = op.axis % op.x.type.rank, int(at) % op.x.type.shape[op.axis]
    cut = ops.Slice(op.x, starts=(place,), ends=(place + 1,), axes=(axis,), steps=(1,))
    return ops.Reshape(cut, op.type.shape)


def _gather(op: ops.Gather) -> Op | None:
    return _embedding(op) or _pick(op)


def _abs(op: ops.Abs) -> Op:
    return ops.Sub(ops.Mul(ops.Relu(op.x), scalar(2.0)), op.x)


def _is_rsqrt(op: Op) -> bool:
    return isinstance(op, ops.Reciprocal) and isinstance(op.x, ops.Sqrt)


def _reciprocal(op: ops.Reciprocal, x: Range) -> SplineSpec:
    return functions.reciprocal(*_positive(op, x))


def _rsqrt(x: Op, lo: float, hi: float, name: str) -> Op:
    """1/√x, relative error: one fit, or where x spans too many octaves p·f(p²·x) (`octaves`)."""
    if hi < lo * octaves.WIDE:
        return ops.Spline(x, functions.rsqrt(lo, hi), name=name)
    p, reduced = (
        ops.Spline(x, spline, name=f"{name} {spline.function}" if name else "")
        for spline in octaves.octaves(lo, hi)
    )
    fit = functions.rsqrt(*octaves.reduced_range(reduced.spline))
    return ops.Mul(ops.Spline(reduced, fit), p, name=name)


def _spline(x: Op, spline: SplineSpec, name: str) -> Op:
    return ops.Spline(x, spline, name=name)


def _beside_relu(x: Op, rest: SplineSpec, name: str) -> Op:
    """max(x, 0) + rest(|x|): what GELU and SiLU have beside a ReLU is even, and half the knots do."""
    relu = ops.Spline(x, functions.relu_beside(), name=f"{name} ReLU" if name else "")
    size = ops.Sub(ops.Mul(relu, scalar(2.0)), x)
    return ops.Add(relu, ops.Spline(size, rest, name=f"{name} rest" if name else ""), name=name)


def _sqrt(op: ops.Sqrt, x: Range) -> SplineSpec:
    return functions.sqrt(*_positive(op, x))


def _positive(op: Op, x: Range) -> tuple[float, float]:
    if not x.lo > 0:
        raise RangeError(
            f"{place(op)}: its operand reaches {x.lo:g}, but must stay "
            "above 0; add an epsilon to it in the model, or give data that stays above with --calibrate"
        )
    return x.lo, max(x.hi, x.lo * 1.01)


def _exp(op: ops.Exp, x: Range) -> SplineSpec:
    if x.hi > SLACK:
        raise RangeError(
            f"{place(op)}: its operand reaches {x.hi:g}; exp is supported up to {SLACK:g}, "
            "as in a softmax that subtracts the maximum"
        )
    return functions.exp()


def _clip(op: ops.Clip, x: Range) -> SplineSpec:
    return functions.clip(op.lo, op.hi)


DECOMPOSITIONS: tuple[Decomposition, ...] = (
    Decomposition(ops.Softmax, "softmax", _softmax, "e = exp(x − max x); e·(1/Σe)", "max, exp, product"),
    Decomposition(
        ops.LayerNorm,
        "layer norm",
        _layer_norm,
        "c = x − mean x; c·(1/√(Σc² + nε))·(γ√n) + β",
        "a square and two products an element",
    ),
    Decomposition(
        ops.RMSNorm,
        "rms norm",
        _rms_norm,
        "x·(1/√(Σx² + nε))·(γ√n)",
        "a square and two products an element",
    ),
    Decomposition(ops.Div, "division", _div, "a·(1/b)", "a reciprocal and a product"),
    Decomposition(ops.ReduceMean, "mean", _mean, "Σx·(1/n)", "one truncation an output"),
    Decomposition(ops.Gather, "embedding", _gather, "onehot(ids) @ table; a slice", "a product under HE"),
    Decomposition(ops.Abs, "abs", _abs, "2·relu(x) − x", "one comparison"),
)

APPROXIMATIONS: tuple[Approximation, ...] = (
    Approximation(
        ops.Gelu,
        "gelu",
        lambda op, x: functions.gelu(approx=op.approx),
        "x·Φ(x)",
        "all x",
        functions.GELU_ERROR,
        "a ReLU, 4 knots, a square",
    ),
    Approximation(
        ops.Silu,
        "silu",
        lambda op, x: functions.silu(),
        "x/(1+e⁻ˣ)",
        "all x",
        functions.SILU_ERROR,
        "a ReLU, 5 knots, a square",
    ),
    Approximation(
        ops.Exp,
        "exp",
        _exp,
        "eˣ",
        f"x ≤ {SLACK:g}",
        functions.EXP_ERROR,
        "6 knots, a square",
    ),
    Approximation(
        ops.Sigmoid,
        "sigmoid",
        lambda op, x: functions.sigmoid(),
        "1/(1+e⁻ˣ)",
        "all x",
        functions.BOUNDED_ERROR,
        "8 knots, a square",
    ),
    Approximation(
        ops.Tanh,
        "tanh",
        lambda op, x: functions.tanh(),
        "tanh x",
        "all x",
        functions.BOUNDED_ERROR,
        "11 knots, a square",
    ),
    Approximation(
        ops.Erf,
        "erf",
        lambda op, x: functions.erf(),
        "erf x",
        "all x",
        functions.BOUNDED_ERROR,
        "9 knots, a square",
    ),
    Approximation(
        ops.Relu, "relu", lambda op, x: functions.relu(), "max(x, 0)", "all x", 0.0, "1 knot, a gate"
    ),
    Approximation(ops.Clip, "clip", _clip, "min(max(x, a), b)", "all x", 0.0, "2 knots, 2 gates"),
    Approximation(
        ops.Reciprocal,
        "reciprocal",
        _reciprocal,
        "1/x, 1/√x",
        "the calibrated range",
        functions.RELATIVE_ERROR,
        "about 3 knots an octave (2 for 1/√x), a square",
    ),
    Approximation(
        ops.Sqrt,
        "sqrt",
        _sqrt,
        "√x",
        "the calibrated range",
        functions.RELATIVE_ERROR,
        "about 1 knot an octave, a square",
    ),
)


def decompose(graph: Graph) -> Graph:
    """The graph in sums, products and functions of one value; float meaning unchanged."""
    table = {each.op: each for each in DECOMPOSITIONS}
    owners = Owners()

    def step(op: Op) -> Op:
        if type(op) not in table or not owners.shared(op):
            return op
        built = table[type(op)].build(op)
        return op if built is None else built.named(op.name)

    return rebuild(graph, step)


def approximate(graph: Graph, ranges: Ranges) -> Graph:
    """Every function of one shared value as a spline. ``ranges`` are of this graph.

    Raises RangeError, naming the op, where the range leaves the domain of every approximation, or no spline
    reaches the error there.
    """
    table = {each.op: each for each in APPROXIMATIONS}
    owners = Owners()
    splined = [op for op in walk(graph) if type(op) in table and owners.shared(op)]
    # √x that is only ever inverted is part of 1/√x, and takes no fit of its own
    inverted = Counter(op.x for op in splined if isinstance(op, ops.Reciprocal))
    read = uses(graph)
    waiting = {op for op in splined if not (isinstance(op, ops.Sqrt) and inverted[op] == read[op])}
    new: dict[Op, Op] = {}
    for op in walk(graph):
        if op in waiting:
            new[op] = _approximated(table[type(op)], op, ranges, new)
        else:
            new[op] = op.replace(new[each] for each in op.operands)
    return graph.mapped(new)


def _approximated(by: Approximation, op: Op, ranges: Ranges, new: Mapping[Op, Op]) -> Op:
    (x,) = op.operands
    if _is_rsqrt(op):
        (x,) = x.operands
    try:
        if _is_rsqrt(op):
            return _rsqrt(new[x], *_positive(op, ranges[x]), op.name)
        made = _beside_relu if isinstance(op, ops.Gelu | ops.Silu) else _spline
        return made(new[x], by.spline(op, ranges[x]), op.name)
    except FitError as fault:
        raise RangeError(f"{place(op)}: {fault}; its operand's range is {ranges[x]}. {REMEDY}") from None
