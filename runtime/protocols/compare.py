"""[x >= t_1], …, [x >= t_s] as bit shares, for public thresholds.

x - t is negative when the top bits of the shares and the carry out of their low bits XOR to one, and
the carry is a millionaires' comparison of what each side knows. After Rathee et al. (CrypTFlow2,
CCS 2020): digits of a few bits by 1-of-2^k OT, a tree of ANDs above; of few elements digits are of up to
eight, whose tables cost less than the levels that they save. The chooser's digits do not depend
on the threshold, so one OT serves all of them; and where the thresholds are multiples of 2^g, neither
do the sender's digits below bit g, which are compared once. Of many elements each side sends for half,
of few one for all, who is given.

    chooser -> sender   digits xor random digits              1 bit for each bit of x
    sender -> chooser   (greater, equal) for all 2^k digits   2s·2^k bits a digit of k bits above the grid
    both -> both        log2(digits) levels of ANDs
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache, partial
from itertools import pairwise
from math import prod
from typing import ClassVar, Protocol

import numpy as np

from .. import _ring
from ..base.ring import BIT, MAX_BITS, Fixed, Int64, Ring, known
from ..base.share import Share
from ..base.wire import Buffer
from ..party.party import Message, Part, Party
from ..party.role import SERVER, Role
from .booleans import AndMade, Bits, and_offline, and_rows
from .halves import FLIGHT, Half, halves
from .one_of_n import OneOfNMade, one_of_n_choice, one_of_n_entry, one_of_n_offline, one_of_n_tables

WIDEST = 8
"""Bits of a digit at most."""
TRIPLE = 3
"""Bits that the two correlated OTs of an AND take to make."""
TABLE = 32
"""Thresholds that one table of a digit serves: two bits for each in an entry of 64."""
MAX_THRESHOLDS = 256
MAX_WIDTH = 64


@dataclass(frozen=True)
class Thresholds:
    """Public thresholds in units of the compared ring, ascending, and the bits dropped before.

    x is compared at 2^drop units: the outcome may be 0 instead of 1 where x exceeds a threshold by
    less than 2^drop, and is right elsewhere.
    """

    values: tuple[Int64, ...]
    drop: int = 0

    def __post_init__(self) -> None:
        if len(self.values) > MAX_THRESHOLDS:
            raise ValueError(
                f"{len(self.values)} thresholds, more than the {MAX_THRESHOLDS} of one comparison"
            )
        if not self.values or list(self.values) != sorted(set(self.values)):
            raise ValueError(f"thresholds must ascend, not {self.values}")
        if not 0 <= self.drop < MAX_BITS:
            raise ValueError(f"cannot drop {self.drop} bits of a ring")
        if any(t % (1 << self.drop) for t in self.values):
            raise ValueError(f"thresholds {self.values} are not multiples of 2^{self.drop}")

    @property
    def grid(self) -> int:
        """The largest g such that every dropped threshold is a multiple of 2^g."""
        merged = 0
        for t in self.values:
            merged |= t >> self.drop
        return 64 if merged == 0 else (merged & -merged).bit_length() - 1


@dataclass(frozen=True)
class Layout:
    """Digits from the lowest bit up: (first bit, bits, shared by all thresholds)."""

    digits: tuple[tuple[int, int, bool], ...]

    @staticmethod
    @lru_cache(maxsize=4096)
    def of(bits: int, thresholds: Thresholds, count: int, flight: int = FLIGHT) -> Layout:
        """That of the least price for ``count`` elements, where a flight is worth ``flight`` bytes."""
        top, grid = _heights(bits, thresholds)

        def cut(below: int, above: int) -> Layout:
            """Digits of so many bits at most below the grid and above it."""
            cuts = [*_even(0, grid, below), *_even(grid, top, above), top]
            return Layout(tuple((a, b - a, b <= grid) for a, b in pairwise(cuts)))

        every = range(1, WIDEST + 1)
        layouts = (cut(below, above) for below in every for above in every)
        return min(layouts, key=lambda each: each._price(count, len(thresholds.values), flight))

    @staticmethod
    def as_made(bits: int, thresholds: Thresholds, made: ComparedMade) -> Layout:
        """That which material is for."""
        _, grid = _heights(bits, thresholds)
        ends = np.cumsum([leaves[0].index_bits for leaves in made.leaves]).tolist()
        return Layout(tuple((a, b - a, b <= grid) for a, b in pairwise([0, *ends])))

    @cached_property
    def levels(self) -> list[list[tuple[bool, int]]]:
        """For each level of ANDs those that it holds: (shared by all thresholds, payload bits)."""
        out: list[list[tuple[bool, int]]] = []
        runs = [(common, i == 0) for i, (_, _, common) in enumerate(self.digits)]
        while len(runs) > 1:
            pairs, runs = _pairs(runs)
            out.append([(common, 1 if lowest else 2) for common, lowest in pairs])
        return out

    def table_bits(self, rows: int) -> int:
        """What the sender says of an element, for ``rows`` thresholds."""
        digits = enumerate(self.digits)
        return sum((1 if i == 0 else 2) * (1 if common else rows) << k for i, (_, k, common) in digits)

    def bits(self, rows: int) -> int:
        """What is said of an element, for ``rows`` thresholds."""
        found = self.table_bits(rows) + sum(k for _, k, _ in self.digits)
        for level in self.levels:
            found += sum(2 * (1 + width) * (1 if common else rows) for common, width in level)
        return found

    def _price(self, count: int, rows: int, flight: int) -> int:
        """Bytes, those that flights are worth among them."""
        triples = sum(1 if common else rows for level in self.levels for common, _ in level)
        return count * (self.bits(rows) + TRIPLE * triples) // 8 + flight * len(self.levels)


def _heights(bits: int, thresholds: Thresholds) -> tuple[int, int]:
    """Bits that are compared, and of these those below the grid."""
    top = bits - thresholds.drop - 1
    if top < 1:
        raise ValueError(f"no bits are left to compare: ring {bits}, dropped {thresholds.drop}")
    return top, min(thresholds.grid, top)


@dataclass(frozen=True, repr=False)
class ComparedMade:
    """Of the elements that one side sends for."""

    TAG: ClassVar[str] = "compared"

    leaves: list[list[OneOfNMade]]
    ands: list[list[AndMade]]


@dataclass(frozen=True, repr=False)
class CompareMade:
    TAG: ClassVar[str] = "compare"

    halves: list[ComparedMade]

    @property
    def sender(self) -> Role:
        """Who sends for the first elements, or for all."""
        return self.halves[0].leaves[0][0].sender


def compare_offline(
    p: Party,
    num: Fixed,
    shape: tuple[int, ...],
    thresholds: Thresholds,
    sender: Role = SERVER,
    flight: int = FLIGHT,
) -> CompareMade:
    """Of few elements ``sender`` has the tables, and the other side speaks first. A flight is worth so many
    bytes as ``flight`` has: the fewer, the narrower the digits."""
    n, s = prod(shape), len(thresholds.values)
    layout = Layout.of(num.bits, thresholds, n, flight)

    def half_offline(half: Half) -> ComparedMade:
        leaves = []
        for i, (_, k, common) in enumerate(layout.digits):
            bits = 1 if i == 0 else 2
            widths = [bits * (stop - start) for start, stop in _tables(1 if common else s)]
            leaves.append([one_of_n_offline(p, half.sender, half.count, k, width) for width in widths])
        ands = [
            [and_offline(p, half.count * (1 if common else s), width) for common, width in level]
            for level in layout.levels
        ]
        return ComparedMade(leaves, ands)

    return CompareMade([half_offline(half) for half in halves(n, layout.table_bits(s), sender)])


class Running(Protocol):
    """A protocol on its way through an exchange that it shares with others."""

    def messages(self) -> Sequence[Message]: ...

    def read(self, said: Iterator[Buffer | None]) -> None:
        """Take what was said in its messages, in their order."""
        ...


def compare(p: Party, x: Share, thresholds: Thresholds, made: CompareMade) -> Share:
    """Shape of x with a last axis of s bits. Needs |x - t| < 2^(bits-1) for every threshold t."""
    return compare_all(p, [(x, thresholds, made)])[0]


def compare_all(
    p: Party,
    asked: Sequence[tuple[Share, Thresholds, CompareMade]],
    beside: Sequence[Running] = (),
) -> list[Share]:
    """Several comparisons, in the flights of the longest; what ``beside`` says goes with the tables."""
    wholes = [_compared(p, *each) for each in asked]
    running = [half for whole in wholes for half in whole]
    turns = iter(p.tell_all([choice for each in running for choice in each.choices()]))
    tables = [table for each in running for table in each.tables(turns)]
    said = iter(p.exchange([*tables, *(message for other in beside for message in other.messages())]))
    for half in running:
        half.read(said)
    for other in beside:
        other.read(said)
    for level in range(max(len(each.made.ands) for each in running)):
        joined = [each for each in running if level < len(each.made.ands)]
        pairs = [each.pairs() for each in joined]
        xs, ys = (_joined([pair[i] for pair in pairs]) for i in range(2))
        z = and_rows(p, xs, ys, [made for each in joined for made in each.made.ands[level]])
        for each in joined:
            some = len(each.made.ands[level])
            each.join(z[:some])
            z = z[some:]
    return [_signs(p, x, thresholds, whole) for (x, thresholds, _), whole in zip(asked, wholes, strict=True)]


def _compared(p: Party, x: Share, thresholds: Thresholds, made: CompareMade) -> list[_Comparison]:
    """The halves of one comparison."""
    layout = Layout.as_made(x.num.bits, thresholds, made.halves[0])
    parts = halves(x.size, layout.table_bits(len(thresholds.values)), made.sender)
    return [
        _Comparison(p, x, thresholds, layout, half, each)
        for half, each in zip(parts, made.halves, strict=True)
    ]


def _signs(p: Party, x: Share, thresholds: Thresholds, whole: Sequence[_Comparison]) -> Share:
    shape = (*x.shape, len(thresholds.values))
    return Share(BIT, shape, p.both(lambda: np.concatenate([each.signs() for each in whole]).reshape(shape)))


class _Comparison:
    """One half of a comparison on its way through its messages."""

    def __init__(
        self, p: Party, x: Share, thresholds: Thresholds, layout: Layout, half: Half, made: ComparedMade
    ) -> None:
        self.made = made
        self._p, self._half, self._layout = p, half, layout
        self._n, self._s = half.count, len(thresholds.values)
        self._top = x.num.bits - thresholds.drop - 1
        drop, sends = np.uint64(thresholds.drop), p.role is half.sender

        def mine() -> Ring:
            """The chooser's share of x, (n,), or the sender's of x - t, (n, s), in the dropped ring."""
            share = x.ring.reshape(-1)[half.at] >> drop
            if not sends:
                return share
            ring = 1 << (self._top + 1)
            ts = np.array([(t >> thresholds.drop) % ring for t in thresholds.values], np.uint64)
            return (share[:, None] - ts) & np.uint64(ring - 1)

        self._sends = sends
        self._mine = p.both(mine)
        self._open: list[tuple[Ring | None, Ring | None]] = []
        self._nodes: list[_Node] = []
        self._high: list[_Node] = []
        self._runs = [(common, i == 0) for i, (_, _, common) in enumerate(layout.digits)]

    def choices(self) -> Iterator[tuple[Role, Part]]:
        """chooser -> sender: its digits."""
        for leaves, (at, k, _) in zip(self.made.leaves, self._layout.digits, strict=True):
            for leaf in leaves:
                yield one_of_n_choice(leaf, partial(_digit, self._mine, at, k))

    def tables(self, turns: Iterator[Ring | None]) -> Iterator[Message]:
        """sender -> chooser: the tables of all digits."""
        for i, leaf, (start, stop) in self._leaves():
            turn = next(turns)
            masks = self._p.random(leaf.width, (self._n,)) if self._sends else None
            self._open.append((turn, masks))
            at = self._layout.digits[i][0]
            yield one_of_n_tables(leaf, turn, partial(self._seal, masks, at, start, stop, i > 0))

    def read(self, tables: Iterator[Buffer | None]) -> None:
        """What the tables say, or what they were masked with."""
        parts: list[list[_Node]] = [[] for _ in self._layout.digits]
        for (i, leaf, (start, stop)), (turn, masks) in zip(self._leaves(), self._open, strict=True):
            said = next(tables)
            held = masks if self._sends or said is None else one_of_n_entry(leaf, turn, said)
            parts[i].append(_Node.of(held, stop - start, equal=i > 0))
        self._nodes = [each[0] if len(each) == 1 else _beside(each, self._n) for each in parts]

    def _leaves(self) -> Iterator[tuple[int, OneOfNMade, tuple[int, int]]]:
        """Every table: its digit, and which thresholds it serves."""
        for i, (leaves, (_, _, common)) in enumerate(zip(self.made.leaves, self._layout.digits, strict=True)):
            for leaf, run in zip(leaves, _tables(1 if common else self._s), strict=True):
                yield i, leaf, run

    def _seal(
        self, masks: Ring | None, at: int, start: int, stop: int, equal: bool, pads: Bits, turn: Ring
    ) -> Bits:
        """One digit's tables: against 2^top - 1 - share, as what exceeds that carries."""
        shares, low = known(self._mine), (1 << self._top) - 1
        return _ring.comparison_seal(pads, turn, shares, known(masks), low, at, start, stop, equal)

    def pairs(self) -> tuple[Bits | None, Bits | None]:
        """What is multiplied at a level: equal_high and (greater, equal)_low of all neighbours."""
        if self._nodes[0].greater is None:
            return None, None
        xs, ys = [], []
        self._high = []
        for i, (common, lowest) in enumerate(_pairs(self._runs)[0]):
            low, high = self._neighbours(i, common)
            self._high.append(high)
            xs.append(known(high.equal))
            ys.append(
                known(low.greater) if lowest else known(low.greater) | (known(low.equal) << np.uint8(1))
            )
        return np.concatenate(xs), np.concatenate(ys)

    def join(self, products: Sequence[Bits | None]) -> None:
        """greater_high xor equal_high·greater_low, and equal_high·equal_low."""
        pairs, after = _pairs(self._runs)
        joined = []
        for (_, lowest), product, high in zip(
            pairs, products, self._high or [_Node()] * len(pairs), strict=True
        ):
            if product is None:
                joined.append(_Node())
                continue
            equal = None if lowest else product >> np.uint8(1)
            joined.append(_Node(known(high.greater) ^ (product & np.uint8(1)), equal))
        self._nodes = joined + ([self._nodes[-1]] if len(self._runs) % 2 else [])
        self._runs = after

    def _neighbours(self, i: int, common: bool) -> tuple[_Node, _Node]:
        low, high = self._nodes[2 * i], self._nodes[2 * i + 1]
        if not common:  # a run below the grid meets one above it
            low = _spread(low, self._s) if self._runs[2 * i][0] else low
            high = _spread(high, self._s) if self._runs[2 * i + 1][0] else high
        return low, high

    def signs(self) -> Ring:
        """This party's bits, (n, s)."""
        shares = known(self._mine).reshape(self._n, -1)
        greater = known(self._nodes[0].greater)
        return _ring.signs(greater, shares, self._top, self._s, self._sends).reshape(self._n, self._s)


def _even(first: int, last: int, widest: int) -> list[int]:
    """Where digits of ``widest`` bits at most begin, as few and as alike as can be, the longer ones below:
    tables grow with the power of two, and the lowest has but half of one."""
    count = -(-(last - first) // widest)
    short, longer = divmod(last - first, count) if count else (0, 0)
    return [first + i * short + min(i, longer) for i in range(count)]


def _joined(parts: Sequence[Bits | None]) -> Bits | None:
    return None if any(each is None for each in parts) else np.concatenate([known(each) for each in parts])


@dataclass(frozen=True, repr=False)
class _Node:
    """Shares of (greater, equal) of a run of digits, each (n·rows,); the lowest run has no equal."""

    greater: Bits | None = None
    equal: Bits | None = None

    @staticmethod
    def of(held: Ring | None, rows: int, equal: bool) -> _Node:
        if held is None:
            return _Node()
        same = _ring.split_bits(held, rows, rows) if equal else None
        return _Node(_ring.split_bits(held, 0, rows), same)


def _tables(rows: int) -> list[tuple[int, int]]:
    """Runs of thresholds that share a table."""
    return [(start, min(start + TABLE, rows)) for start in range(0, rows, TABLE)]


def _beside(parts: list[_Node], n: int) -> _Node:
    """The thresholds of several tables as those of one."""

    def joined(bits: list[Bits | None]) -> Bits | None:
        if any(each is None for each in bits):
            return None
        return np.concatenate([known(each).reshape(n, -1) for each in bits], axis=1).reshape(-1)

    return _Node(joined([part.greater for part in parts]), joined([part.equal for part in parts]))


def _digit(x: Ring | None, at: int, bits: int) -> Bits:
    return ((known(x) >> np.uint64(at)) & np.uint64((1 << bits) - 1)).astype(np.uint8)


def _pairs(runs: list[tuple[bool, bool]]) -> tuple[list[tuple[bool, bool]], list[tuple[bool, bool]]]:
    """Join neighbours (low, high), from the lowest up; a last odd one waits for the next level."""
    pairs = [(runs[i][0] and runs[i + 1][0], runs[i][1]) for i in range(0, len(runs) - 1, 2)]
    rest = [runs[-1]] if len(runs) % 2 else []
    return pairs, pairs + rest


def _spread(node: _Node, s: int) -> _Node:
    """The same bits for each of s thresholds."""
    equal = None if node.equal is None else np.repeat(node.equal, s)
    return _Node(np.repeat(known(node.greater), s), equal)
