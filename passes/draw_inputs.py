"""What is assumed of inputs: drawn where no data is given, and the range that the client is held to.

ids          look up a table             any row of it
mask         called a mask, or whole and looks up nothing    0 or 1
positions    called positions            0 … n − 1 along the last axis
numbers      anything else               as calibrated, or standard normal where nothing is known
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ppc.frontend.ir import ops
from ppc.frontend.ir.graph import FLOAT, Graph, Input, Op, walk

Array = NDArray[np.generic]

COUNT = 6
"""Inputs that are drawn; the first four are the corners: all tokens, one, all of the longest rows, one of
those."""

_BITS = 3
"""A range is told to so many bits: it is the data's own."""

DRAWN = {
    "ids": "any row of its table of {rows}",
    "mask": "0 or 1, from one token to all",
    "positions": "0 … n − 1",
    "numbers": "standard normal",
}


@dataclass(frozen=True)
class Assumed:
    """Of one input: its ``kind`` of `DRAWN`, where its values may lie, and whether data say so; ``rows`` of
    the smallest table that it looks up."""

    name: str
    kind: str
    low: float
    high: float
    calibrated: bool
    rows: int = 0

    def __str__(self) -> str:
        drawn = "as in the samples" if self.calibrated else "drawn " + DRAWN[self.kind].format(rows=self.rows)
        line = f"input {self.name!r}: {self.kind}, {drawn}; "
        line += f"the client refuses what leaves [{self.low:g}, {self.high:g}]"
        if self.kind == "numbers" and not self.calibrated:
            line += ". No table bounds it: give samples with --calibrate, or it is a guess"
        return line


def kind_of(each: Input, tables: Mapping[Input, Op]) -> str:
    name = each.name.lower()
    if "mask" in name:
        return "mask"
    if "position" in name and each.type.num != FLOAT:
        return "positions"
    if each.type.num == FLOAT:
        return "numbers"
    return "ids" if each in tables else "mask"


def assumed(graph: Graph, feeds: Sequence[Mapping[str, Array]] | None, margin: float) -> tuple[Assumed, ...]:
    """Of every input of ``graph`` that the client brings; ``feeds`` are the calibration data, None where
    inputs are drawn."""
    tables, found = _tables(graph), []
    given = random_feeds(graph) if feeds is None else feeds
    for each in graph.inputs:
        if each.carried:
            continue
        kind = kind_of(each, tables)
        rows = _rows(tables[each]) if kind in ("ids", "positions") and each in tables else 0
        if rows:
            low, high = 0.0, rows - 1.0
        else:
            values = [np.asarray(sample[each.name]) for sample in given if np.size(sample[each.name])]
            low = min((float(x.min()) for x in values), default=0.0)
            high = max((float(x.max()) for x in values), default=0.0)
            factor = margin if each.type.num == FLOAT else 1.0
            # what is padded is 0; a mask that was full in all samples need not be
            low, high = _outward(min(0.0, low * factor)), _outward(max(0.0, high * factor))
            if kind == "mask" and each.type.num != FLOAT:
                low, high = min(low, 0.0), max(high, 1.0)
            if kind == "positions":
                high = max(high, each.type.shape[-1] - 1.0 if each.type.shape else 0.0)
        found.append(Assumed(each.name, kind, low, high, feeds is not None and not rows, rows))
    return tuple(found)


def _outward(x: float) -> float:
    """Away from 0 to a number of few bits; whole numbers of up to 16 bits stay."""
    if x == 0 or not math.isfinite(x) or (x == round(x) and abs(x) < 2**16):
        return x
    unit = 2.0 ** (math.floor(math.log2(abs(x))) - _BITS)
    return math.copysign(math.ceil(abs(x) / unit) * unit, x)


def random_feeds(graph: Graph, count: int = COUNT, seed: int = 0) -> list[dict[str, Array]]:
    """Inputs to calibrate on where no data is given, seeded: lengths from one token to all, ids within the
    vocabulary, the longest rows of the table among them and at the first place.

    An input that looks up a table of two rows (token types) is zero.
    """
    rng = np.random.default_rng(seed)
    tables, found = _tables(graph), []
    longest = {each: _longest(table) for each, table in tables.items() if _rows(table) > 2}
    for index in range(count):
        feeds: dict[str, Array] = {}
        fill = (1.0, 0.0, 1.0, 0.0)[index] if index < 4 else float(rng.uniform(0.0, 1.0))
        for each in graph.inputs:
            shape, kind = each.type.shape, kind_of(each, tables)
            length = shape[-1] if shape else 1
            kinds = np.float32 if each.type.num == FLOAT else np.int64
            if kind == "mask":
                kept = np.arange(length) < max(1, round(fill * length))
                feeds[each.name] = np.resize(kept, shape).astype(kinds)
            elif kind == "positions":
                feeds[each.name] = np.resize(np.arange(length), shape).astype(kinds)
            elif kind == "ids":
                feeds[each.name] = _ids(rng, shape, _rows(tables[each]), longest.get(each), index)
            else:
                feeds[each.name] = rng.standard_normal(shape).astype(np.float32)
        found.append(feeds)
    return found


def _ids(
    rng: np.random.Generator, shape: tuple[int, ...], rows: int, longest: Array | None, index: int
) -> Array:
    if longest is None:
        return np.zeros(shape, np.int64)
    ids = rng.integers(0, rows, shape)
    if index % 2 or index == 2:
        flat = ids.reshape(-1)
        flat[0] = longest[index // 2 % len(longest)]
        if index == 2:  # every second place
            flat[::2] = np.resize(longest, flat[::2].shape)
    return ids


def _longest(table: Op, count: int = 8) -> Array:
    """The rows of a look-up that are longest, the longest first; those in front where nobody knows them."""
    held = _held(table)
    if held is None:
        return np.arange(min(count, _rows(table)))
    rows: NDArray[Any] = held.reshape(len(held), -1)
    norms = np.einsum("ij,ij->i", rows, rows, dtype=np.float64)
    return np.argsort(-norms, kind="stable")[:count]


def _held(table: Op) -> Array | None:
    match table:
        case ops.Gather(x=ops.Const(value=value), axis=0):
            return value
    return None


def _rows(table: Op) -> int:
    match table:
        case ops.Gather(x=x, axis=axis):
            return int(x.type.shape[axis])
        case ops.OneHot(depth=depth):
            return int(depth)
    return 0


def _tables(graph: Graph) -> dict[Input, Op]:
    """The look-up of every input that indexes; of several the one with fewest rows."""
    found: dict[Input, Op] = {}
    for op in walk(graph):
        if isinstance(op, ops.Gather):
            at = op.indices
        elif isinstance(op, ops.OneHot):
            at = op.ids
        else:
            continue
        while isinstance(at, ops.Reshape | ops.Cast | ops.Broadcast | ops.Transpose | ops.Slice):
            at = at.x
        if isinstance(at, Input) and (at not in found or _rows(op) < _rows(found[at])):
            found[at] = op
    return found


def looked_up(graph: Graph) -> dict[str, int]:
    """By input the rows of the smallest table that it looks up."""
    return {each.name: rows for each, table in _tables(graph).items() if (rows := _rows(table))}


ENOUGH = 32
"""Samples of a kind: with so many one at most of a thousand others left a ring (docs/accuracy.md)."""

_FULL = 0.75
"""The part of the length that the longest sample should fill."""


def warnings(graph: Graph, feeds: Sequence[Mapping[str, Array]] | None) -> tuple[str, ...]:
    """What is wrong with the calibration data, to be said loudly: a value that leaves its ring is lost."""
    if feeds is None:
        return (
            "WARNING: calibrated on random inputs, which is for trying, not for serving: real ones may leave "
            "their rings, and are wrong then, which the guard need not notice. "
            f"Give {ENOUGH} samples or more with --calibrate",
        )
    found = []
    if len(feeds) < ENOUGH:
        found.append(
            f"WARNING: calibrated on {len(feeds)} samples: others may leave their rings, and are wrong then, "
            f"which the guard need not notice. Give {ENOUGH} or more, of every kind that is to come"
        )
    part = _filled(graph, feeds)
    if part is not None and part < _FULL:
        found.append(
            f"WARNING: the longest sample fills {part:.0%} of the compiled length; none longer was seen. "
            "Add samples that fill it, or compile a shorter --seq-len"
        )
    return tuple(found)


def _filled(graph: Graph, feeds: Sequence[Mapping[str, Array]]) -> float | None:
    """The largest part of a mask that a sample fills; None without a mask."""
    tables = _tables(graph)
    masks = [each.name for each in graph.inputs if kind_of(each, tables) == "mask" and each.type.shape]
    parts = [float(np.mean(np.asarray(sample[name]) != 0)) for sample in feeds for name in masks]
    return max(parts, default=None)
