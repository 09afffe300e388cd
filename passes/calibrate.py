"""Ranges of every value: observed on data, widened by a margin, cut by what is known without data."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from ppc.frontend.ir import ops
from ppc.frontend.ir.graph import INT, Graph, Input, Op, walk
from ppc.frontend.ir.reference import evaluate_in
from ppc.passes import octaves
from ppc.passes.errors import RangeError, place
from ppc.passes.masked import contents
from ppc.runtime.base.namespace import NUMPY

Array = NDArray[np.generic]
Feeds = Mapping[str, Array]

MARGIN = 1.5
"""Ranges are widened to this multiple of what was seen on real data: an input that calibration has not met
may go further, and a value that leaves its ring is lost altogether; this costs half a bit on average."""

BLIND_MARGIN = 3.0
"""The same for random inputs: on MiniLM's layers sentences reach up to 2.5 times as far as random tokens."""

SLACK = 0.5
"""The maximum that softmax subtracts may be short by this much."""

_SHORT = 0.01
_UNIT = 1.01
_QUIET = 0.25
_POINTS = 4097


@dataclass(frozen=True)
class Range:
    """Where a value lies. ``rms`` is a typical magnitude: the lower quartile over rows of a row's
    root mean square, so that rows which are small (a sharp softmax) keep their digits too."""

    lo: float
    hi: float
    rms: float

    @property
    def magnitude(self) -> float:
        return max(abs(self.lo), abs(self.hi))

    def __str__(self) -> str:
        return f"[{self.lo:.4g}, {self.hi:.4g}] ~{self.rms:.3g}"


Ranges = dict[Op, Range]


def calibrate(graph: Graph, feeds: Sequence[Feeds], margin: float = MARGIN) -> Ranges:
    """The range of every op of ``graph`` over all ``feeds``; raises ValueError where a value is not a number.

    ``feeds`` are inputs by name, shapes as in the graph. A range that stays on one side of zero is widened on
    that side only by the same factor (a variance stays positive). Constants get no margin. What is typical of
    a masked value is what is so without the mask.
    """
    if not feeds:
        raise ValueError("calibration needs at least one set of inputs")
    bare = contents(graph)
    beside = {f" {i}": op for i, op in enumerate(bare.values())}
    whole = replace(graph, outputs={**graph.outputs, **beside})
    constants: dict[Op, Array] = {op: _real(op.value) for op in walk(whole) if isinstance(op, ops.Const)}
    seen: dict[Op, list[Range]] = {op: [_observe(op, value)] for op, value in constants.items()}
    for each in feeds:
        for op, value in evaluate_in(NUMPY, whole, each, constants).items():
            if op not in constants:
                seen.setdefault(op, []).append(_observe(op, np.asarray(value)))
    ranges: Ranges = {}
    for op in walk(graph):
        several, typical = seen[op], seen[bare.get(op, op)]
        lo, hi = min(r.lo for r in several), max(r.hi for r in several)
        rms = math.sqrt(sum(r.rms**2 for r in typical) / len(typical))
        ranges[op] = _bounded(op, lo, hi, rms, 1.0 if isinstance(op, ops.Const) else margin, ranges)
    return ranges


def _real(value: Array) -> Array:
    return value.astype(np.float64) if value.dtype.kind == "f" else value


def _observe(op: Op, value: Array) -> Range:
    x = value.astype(np.float64)
    if not x.size:
        return Range(0.0, 0.0, 0.0)
    if np.any(np.isnan(x)):
        raise RangeError(
            f"{place(op)} is not a number on the calibration data; "
            "run the model there with ONNX Runtime, and give data on which it is one with --calibrate"
        )
    rows = np.sqrt(np.mean(x.reshape(-1, x.shape[-1]) ** 2, axis=1)) if x.ndim else np.abs(x)[None]
    rows = rows[(rows > 0) & np.isfinite(rows)]
    return Range(float(x.min()), float(x.max()), float(np.quantile(rows, _QUIET)) if rows.size else 0.0)


def _bounded(op: Op, lo: float, hi: float, rms: float, margin: float, known: Ranges) -> Range:
    wide_lo = lo * margin if lo < 0 else lo / margin
    wide_hi = hi * margin if hi > 0 else hi / margin
    least, most = bounds(op, known)
    if _is_look_up(op) or _divides_by_relus(op):
        return Range(least, most, rms)
    if _is_sum_of_relus(op):
        return Range(least, min(wide_hi, most), rms)
    return Range(min(max(wide_lo, least), lo), max(min(wide_hi, most), hi), rms)


def _is_look_up(op: Op) -> bool:
    """A row of a table: every entry may turn up, whatever calibration saw."""
    return isinstance(op, ops.MatMul) and isinstance(op.a, ops.OneHot) and isinstance(op.b, ops.Const)


def _is_sum_of_relus(op: Op) -> bool:
    """Σ relu + ε: ε in a row that is all negative, or all masked, be there one among what was seen or not."""
    match op:
        case ops.Add(a=ops.ReduceSum(x=x), b=ops.Const(value=epsilon)):
            return bool(np.all(epsilon > 0)) and _is_relu(x.x if isinstance(x, ops.Square) else x)
    return False


def _is_relu(op: Op) -> bool:
    return isinstance(op, ops.Relu) or (isinstance(op, ops.Spline) and op.spline.function == "relu")


def _divides_by_relus(op: Op) -> bool:
    return isinstance(op, ops.Reciprocal | ops.Spline) and _is_sum_of_relus(op.x)


def bounds(op: Op, known: Ranges) -> tuple[float, float]:
    """What holds for any input, given the ranges of the operands; (−∞, ∞) where nothing is known."""
    match op:
        case ops.Softmax() | ops.Sigmoid() | ops.OneHot():
            return 0.0, 1.0
        case ops.MatMul(a=ops.OneHot(), b=ops.Const(value=table)):
            return min(0.0, float(table.min())), max(0.0, float(table.max()))
        case ops.Tanh() | ops.Erf():
            return -1.0, 1.0
        case ops.Relu() | ops.Square() | ops.Abs() | ops.Exp():
            return 0.0, math.inf
        case ops.Add(a=ops.ReduceSum(x=x), b=b) if _is_sum_of_relus(op):
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
        case ops.Mul() if octaves.is_reduced(op):
            return 1 - octaves.SLACK, 4 * (1 + octaves.SLACK)
        case ops.Mul(a=a, b=ops.Spline(x=ops.Add(a=ops.ReduceSum(x=ops.Square(x=x))), spline=spline)) if (
            a is x
        ):
            # no value is larger than the root of the sum of all squares
            return (-_UNIT, _UNIT) if spline.function == "rsqrt" else (-math.inf, math.inf)
        case ops.ReduceSum(x=ops.Exp(x=ops.Sub(a=a, b=ops.ReduceMax(x=x)))) if a is x:
            # one of the summands is e^0, or more where the maximum is short by a little
            count = op.x.type.size // op.type.size
            return 1 - _SHORT, count * math.exp(SLACK)
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


def random_feeds(graph: Graph, count: int = 4, seed: int = 0) -> list[dict[str, Array]]:
    """Inputs to calibrate on where no data is given: seeded token ids within the vocabulary, masks of varied
    lengths, normal pixels.

    The vocabulary is the length of the tables an input looks up; an integer input that looks nothing up, or
    is called a mask, is a mask; one that looks up a table of two rows (token types) is zero.
    """
    rng = np.random.default_rng(seed)
    vocabularies = _vocabularies(graph)
    found = []
    for index in range(count):
        feeds: dict[str, Array] = {}
        fill = 1.0 if index == 0 else float(rng.uniform(0.2, 1.0))
        for each in graph.inputs:
            if each.type.num != INT:
                feeds[each.name] = rng.standard_normal(each.type.shape).astype(np.float32)
            elif "mask" in each.name or each not in vocabularies:
                length = each.type.shape[-1] if each.type.shape else 1
                kept = np.arange(length) < max(1, round(fill * length))
                feeds[each.name] = np.resize(kept, each.type.shape).astype(np.int64)
            else:
                size = vocabularies[each]
                feeds[each.name] = rng.integers(0, size if size > 2 else 1, each.type.shape)
        found.append(feeds)
    return found


def _vocabularies(graph: Graph) -> dict[Input, int]:
    """How many rows the smallest table has that an input indexes."""
    found: dict[Input, int] = {}
    for op in walk(graph):
        if isinstance(op, ops.Gather):
            at, size = op.indices, op.x.type.shape[op.axis]
        elif isinstance(op, ops.OneHot):
            at, size = op.ids, op.depth
        else:
            continue
        while len(at.operands) == 1:
            (at,) = at.operands
        if isinstance(at, Input):
            found[at] = min(size, found.get(at, size))
    return found
