"""Ranges of every value: observed on data, widened by a margin, cut by what is known without data."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from weakref import WeakKeyDictionary

import numpy as np
from numpy.typing import NDArray

from ppc.frontend.ir import ops
from ppc.frontend.ir.graph import FLOAT, Graph, Input, Op, walk
from ppc.frontend.ir.reference import values_of_each, wide_constants
from ppc.passes.assured import assured
from ppc.passes.coarse import nearest, outward
from ppc.passes.errors import RangeError, place
from ppc.passes.formulas import divides_by_relus, is_look_up, is_sum_of_relus
from ppc.passes.masked import contents
from ppc.passes.ranges import SLACK, Range, Ranges, bounds, certain
from ppc.runtime.base.extras import needs
from ppc.runtime.base.namespace import NUMPY

Array = NDArray[np.generic]
Feeds = Mapping[str, Array]

MARGIN = 2.0
"""Values may go this many times as far as on real data, sums of squares its square: an input that calibration
has not met may go further, and a value that leaves its ring is lost altogether; this costs a bit."""

BLIND_MARGIN = 3.0
"""The same for random inputs: on MiniLM's layers sentences reach up to 2.5 times as far as random tokens."""

NEAR = 2.0
"""What holds for any input is provided for where it is up to so many times what samples and margin ask for:
up to twice costs next to nothing, up to four times some 3 % of the bytes of a sentence model."""

MOST_AT_ONCE = 4
"""Sets of inputs; more ask for memory rather than cores."""

MOST_IN_STEP, FEW = 16, 1 << 22
"""Sets of inputs that one thread takes through the graph in step, so that a matrix is read from memory once
for all of them, and how many elements a value may have in all."""

_QUIET = 0.25


def calibrate(graph: Graph, feeds: Sequence[Feeds], margin: float = MARGIN) -> Ranges:
    """The range of every op of ``graph`` over all ``feeds``; raises ValueError where a value is not a number.

    ``feeds`` are inputs by name, shapes as in the graph. A range that stays on one side of zero is widened on
    that side only by the same factor (a variance stays positive). The margin is one of amplitudes: where a
    value goes with the square of its operands, it is squared. Constants and whole inputs (masks, ids) get
    none. What is typical of a masked value is what is so without the mask.
    """
    if not feeds:
        raise ValueError("calibration needs at least one set of inputs")
    bare = contents(graph)
    beside = {f" {i}": op for i, op in enumerate(bare.values())}
    whole = replace(graph, outputs={**graph.outputs, **beside})
    constants = wide_constants(whole)
    seen: dict[Op, list[Range]] = {op: [_of_constant(op, x)] for op, x in constants.items()}

    def observed(some: Sequence[Feeds]) -> Iterator[tuple[Op, Range]]:
        for op, values in values_of_each(NUMPY, whole, some, constants):
            if op not in constants:
                yield from ((op, _observe(op, np.asarray(value))) for value in values)

    threads = min(MOST_AT_ONCE, len(os.sched_getaffinity(0)))
    largest = max((op.type.size for op in walk(whole) if op not in constants), default=1)
    step = max(1, min(MOST_IN_STEP, FEW // max(1, largest), -(-len(feeds) // threads)))
    chunks = [feeds[at : at + step] for at in range(0, len(feeds), step)]

    needs("compile", "calibrating", "threadpoolctl")
    from threadpoolctl import threadpool_limits

    # Threads of a product wait for each other, those of several sets of inputs do not.
    with threadpool_limits(1), ThreadPoolExecutor(threads) as pool:
        for ranged in pool.map(lambda some: list(observed(some)), chunks):
            for op, each in ranged:
                seen.setdefault(op, []).append(each)
    ranges: Ranges = {}
    degrees: dict[Op, int] = {}
    for op in walk(graph):
        several, typical = seen[op], seen[bare.get(op, op)]
        degrees[op] = _degree(op, degrees)
        found = Range(
            min(r.lo for r in several),
            max(r.hi for r in several),
            _quantile(np.array([r.rms for r in typical]), 0.5),
        )
        fixed = isinstance(op, ops.Const) or (isinstance(op, Input) and op.type.num != FLOAT)
        low, high = (1.0, 1.0) if fixed else (margin, margin ** degrees[op])
        most, norm = (outward(0.0, each)[1] for each in assured(op, ranges))
        found = replace(found, most=most, norm=norm)
        ranges[op] = _assured(_bounded(op, found, low, high, ranges), found)
    return ranges


def _assured(wide: Range, seen: Range) -> Range:
    """No wider than any input makes it, and as wide as that where it is little more."""
    most = wide.most
    if most > NEAR * wide.magnitude:
        return wide
    lo = -most if wide.lo < -most or (most > wide.magnitude and wide.lo < 0) else wide.lo
    hi = most if wide.hi > most or (most > wide.magnitude and wide.hi > 0) else wide.hi
    return replace(wide, lo=min(lo, seen.lo), hi=max(hi, seen.hi))


def _degree(op: Op, known: Mapping[Op, int]) -> int:
    """2 where a value goes with the square of what it is made of, as variances do; else 1."""
    match op:
        case ops.Square():
            return 2
        case ops.ReduceSum(x=x) | ops.ReduceMean(x=x) | ops.Reshape(x=x) | ops.Transpose(x=x):
            return known[x]
        case ops.Broadcast(x=x) | ops.Slice(x=x):
            return known[x]
        case ops.Mul(a=a, b=b) if a is b:
            return 2
        case (
            ops.Mul(a=x, b=ops.Const())
            | ops.Mul(a=ops.Const(), b=x)
            | ops.Add(a=x, b=ops.Const())
            | ops.Add(a=ops.Const(), b=x)
            | ops.Div(a=x, b=ops.Const())
        ):
            return known[x]
    return 1


_CONSTANTS: WeakKeyDictionary[Op, Range] = WeakKeyDictionary()
"""Weights are looked at once, however many graphs they are in."""


def _of_constant(op: Op, value: Array) -> Range:
    if op not in _CONSTANTS:
        _CONSTANTS[op] = _observe(op, value)
    return _CONSTANTS[op]


def _observe(op: Op, value: Array) -> Range:
    if isinstance(op, ops.OneHot):
        return Range(0.0, 1.0, op.depth**-0.5)
    x = value.astype(np.float64, copy=False)
    if not x.size:
        return Range(0.0, 0.0, 0.0)
    lo, hi = float(x.min()), float(x.max())
    if math.isnan(lo):
        raise RangeError(
            f"{place(op)} is not a number on the calibration data; "
            "run the model there with ONNX Runtime, and give data on which it is one with --calibrate"
        )
    return Range(*outward(lo, hi), nearest(_typical(x)))


def _typical(x: NDArray[np.float64]) -> float:
    """The lower quartile over rows of a row's root mean square, of rows that are not all zero."""
    table = x.reshape(-1, x.shape[-1] if x.ndim else 1)
    return _quantile(np.sqrt(np.einsum("ij,ij->i", table, table) / table.shape[1]), _QUIET)


def _quantile(sizes: NDArray[np.float64], at: float) -> float:
    """Of those that are not 0; 0.0 where there are none."""
    sizes = np.sort(sizes[(sizes > 0) & np.isfinite(sizes)])
    return float(np.interp(at * (sizes.size - 1), np.arange(sizes.size), sizes)) if sizes.size else 0.0


def _bounded(op: Op, seen: Range, inner: float, outer: float, known: Ranges) -> Range:
    """``inner`` is the margin towards 0, ``outer`` the one away from it: 1/√x goes on below its range for a
    while, and a wider one has no room."""
    lo, hi = seen.lo, seen.hi
    wide_lo = lo * outer if lo < 0 else lo / inner
    wide_hi = hi * outer if hi > 0 else hi / inner
    least, most = bounds(op, known)
    if is_look_up(op) or divides_by_relus(op):
        return replace(seen, lo=least, hi=most)
    if is_sum_of_relus(op):
        return replace(seen, lo=least, hi=min(wide_hi, most))
    if (sure := certain(op, known)) is not None and np.isfinite(sure).all():
        least, most = sure
        # a sum of squares has no bound below but 0, where 1/√ has none above
        wide_lo, wide_hi = least if least != 0 or lo <= 0 else wide_lo, most
        return replace(seen, lo=min(wide_lo, lo), hi=max(wide_hi, hi))
    return replace(seen, lo=min(max(wide_lo, least), lo), hi=max(min(wide_hi, most), hi))


__all__ = ["BLIND_MARGIN", "MARGIN", "SLACK", "Feeds", "Range", "Ranges", "bounds", "calibrate"]
