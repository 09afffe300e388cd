"""Elementwise products of shared tensors.

square      [x^2]     one opening of x - r, with r and r^2 shared offline
square_sum  [Σ x^2]   of rows: of r^2 their sums are enough
multiply    [a·b]     b may be constant along axes of a: its OTs then serve whole rows
scaled      [x·w]     w at the server; it may be constant along axes of x, as above

After Beaver (CRYPTO 1991), with the products of random numbers made by OT (`gilboa`), or under HE where
numbers meet whole rows (`row_products`). Those come in two halves, as in `matmul`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from math import prod
from typing import ClassVar

import numpy as np

from ..base import wire
from ..base.prg import Drawn
from ..base.ring import Fixed, Integers, Ring, as_u64, known
from ..base.share import Share
from ..base.wire import Buffer
from ..party.party import Message, Party
from ..party.ports import MatrixProduct
from ..party.role import CLIENT, SERVER, Role
from .gilboa import gilboa_chosen, gilboa_random
from .halves import halves
from .row_products import NumbersAtClient, NumbersAtServer, RowsAtBoth


@dataclass(frozen=True, repr=False)
class SquareMade:
    TAG: ClassVar[str] = "square"

    r: Ring | None
    rr: Ring | None

    def some(self, at: slice) -> SquareMade:
        """That of a run of elements, which are one behind the other."""
        return SquareMade(*(None if each is None else each[at] for each in (self.r, self.rr)))


def square_offline(p: Party, num: Fixed, shape: tuple[int, ...]) -> SquareMade:
    n, half = prod(shape), Fixed(max(1, num.bits - 1))
    r = p.random(num.bits, (n,))
    # Twice the product counts, so that it is wanted in a ring of one bit less; the top bit of the chooser's
    # mask has no part in it.
    parts = halves(n, half.bits * (half.bits + 1) // 2)

    def low(at: slice) -> Ring:
        return half.wrap(known(r)[at])

    asked = [(each.sender.other, each.count, partial(low, each.at)) for each in parts]
    crossed = gilboa_random(p, half.bits, 1, asked)
    if r is None:
        return SquareMade(None, None)
    for each, (chosen, _) in zip(parts, crossed, strict=True):
        if chosen is not None:
            r[each.at] = r[each.at] >> np.uint64(half.bits) << np.uint64(half.bits) | chosen
    cross = np.concatenate([known(share) for _, share in crossed]).reshape(n)
    return SquareMade(r.reshape(shape), num.wrap(r * r + np.uint64(2) * cross).reshape(shape))


def square(p: Party, x: Share, made: SquareMade) -> Share:
    squaring = Squaring(p, x, made)
    squaring.read(iter(p.exchange(squaring.messages())))
    return squaring.squared()


class Squaring:
    """A square on its way through its messages, which may travel with others."""

    def __init__(self, p: Party, x: Share, made: SquareMade) -> None:
        self._p, self._x, self._made = p, x, made
        self._said: list[Buffer | None] = []

    def messages(self) -> list[Message]:
        """both -> both    x - r, l bits an element"""
        return [(role, self._x.num.bits, self._x.size, self._opening) for role in Role]

    def read(self, said: Iterator[Buffer | None]) -> None:
        self._said = [next(said) for _ in Role]

    def squared(self) -> Share:
        num = self._x.num
        return self._x.like(self._p.both(self._share), num.times(num))

    def _opening(self) -> Buffer:
        return wire.pack(self._x.num.wrap(self._x.ring - known(self._made.r)), self._x.num.bits)

    def _share(self) -> Ring:
        num, r = self._x.num, known(self._made.r)
        ours, theirs = (wire.unpack(each, num.bits, r.size) for each in self._said if each is not None)
        d = num.wrap(ours + theirs).reshape(r.shape)
        out = np.uint64(2) * d * r + known(self._made.rr)
        return num.wrap(out + d * d if self._p.role is SERVER else out)


@dataclass(frozen=True, repr=False)
class SquareSumMade:
    """A mask r, (rows, length), and shares of the sums of its squares, (rows,)."""

    TAG: ClassVar[str] = "square-sum"

    r: Ring | None
    rr: Ring | None


@dataclass(frozen=True, repr=False)
class SquareSumBegun:
    """The server's r, and the products with the client's that are under way."""

    r: Drawn | None
    cross: RowsAtBoth


def square_sum_begin(p: Party, product: MatrixProduct, rows: int) -> SquareSumBegun:
    """client -> server    Enc(r_c)"""
    r = p.each(server=lambda: p.prg.later(product.ell, (rows, product.k)))
    return SquareSumBegun(r, RowsAtBoth(p, product, lambda: known(r).ring))


def square_sum_offline(p: Party, num: Fixed, rows: int, begun: SquareSumBegun) -> SquareSumMade:
    """server -> client    Enc(<r_c, r_s> - s)"""
    cross = begun.cross.finish(rows)
    r = p.each(client=lambda: begun.cross.mask(rows), server=lambda: known(begun.r).ring)
    if r is None:
        return SquareSumMade(None, None)
    return SquareSumMade(r, num.wrap((r * r).sum(axis=-1, dtype=np.uint64) + np.uint64(2) * known(cross)))


def square_sum(p: Party, x: Share, made: SquareSumMade) -> Share:
    """Sums of squares over the last axis, which is left out.

    both -> both    x - r, l bits an element
    """
    num = x.num
    ours, theirs = p.swap(num.bits, x.shape, lambda: num.wrap(x.ring - known(made.r).reshape(x.shape)))

    def mine() -> Ring:
        d = num.wrap(known(ours) + known(theirs))
        each = np.uint64(2) * d * known(made.r).reshape(x.shape)
        sums = (each + d * d if p.role is SERVER else each).sum(axis=-1, dtype=np.uint64)
        return num.wrap(sums + known(made.rr).reshape(x.shape[:-1]))

    return Share(num.times(num), x.shape[:-1], p.both(mine))


@dataclass(frozen=True)
class Rows:
    """How b repeats along a: b's groups first, then the axes along which it is constant."""

    a: tuple[int, ...]
    b: tuple[int, ...]

    def __post_init__(self) -> None:
        ok = len(self.a) == len(self.b) and all(n in (m, 1) for m, n in zip(self.a, self.b, strict=False))
        if not ok:
            raise ValueError(f"shape {self.b} does not repeat along {self.a}; broadcast the larger one first")

    @property
    def order(self) -> tuple[int, ...]:
        kept = [i for i, (m, n) in enumerate(zip(self.a, self.b, strict=True)) if m == n]
        return (*kept, *(i for i in range(len(self.a)) if i not in kept))

    @property
    def groups(self) -> int:
        return prod(self.b)

    @property
    def length(self) -> int:
        return prod(self.a) // max(1, self.groups)

    def split(self, a: Ring) -> Ring:
        """a as (groups, length), b as (groups, 1)."""
        return np.ascontiguousarray(a.transpose(self.order)).reshape(self.groups, -1)

    def join(self, rows: Ring) -> Ring:
        turned = rows.reshape([self.a[i] for i in self.order])
        return np.ascontiguousarray(turned.transpose(np.argsort(self.order)))


@dataclass(frozen=True, repr=False)
class MultiplyMade:
    """Masks of a (groups, length) and b (groups,), and shares of the cross products of the masks."""

    TAG: ClassVar[str] = "multiply"

    u: Ring | None
    v: Ring | None
    uv: Ring | None


def multiply_offline(p: Party, num: Fixed, rows: Rows) -> MultiplyMade:
    g, n, bits = rows.groups, rows.length, num.bits
    u = p.random(bits, (g, n))
    both = gilboa_random(p, bits, n, [(role, g, lambda: known(u)) for role in (CLIENT, SERVER)])
    (first_v, first), (second_v, second) = both
    if p.pricing:
        return MultiplyMade(None, None, None)
    v = first_v if p.role is CLIENT else second_v
    return MultiplyMade(u, v, num.wrap(known(u) * known(v)[:, None] + known(first) + known(second)))


@dataclass(frozen=True, repr=False)
class MultiplyBegun:
    """The server's masks, and the products with the client's that are under way."""

    u: Drawn | None
    v: Drawn | None
    left: NumbersAtServer
    right: NumbersAtClient


def multiply_begin(p: Party, rows: Rows, left: MatrixProduct, right: MatrixProduct) -> MultiplyBegun:
    """client -> server    Enc(u_c), Enc(v_c)

    ``left`` is the product of u_c and v_s (`numbers_at_server`), ``right`` that of v_c and u_s.
    """
    u = p.each(server=lambda: p.prg.later(left.ell, (rows.groups, rows.length)))
    v = p.each(server=lambda: p.prg.later(left.ell, (rows.groups,)))
    one = NumbersAtServer(p, left, lambda: known(v).ring)
    return MultiplyBegun(u, v, one, NumbersAtClient(p, right, lambda: known(u).ring))


def multiply_finish(p: Party, num: Fixed, rows: Rows, begun: MultiplyBegun) -> MultiplyMade:
    """server -> client    Enc(u_c·v_s - s), Enc(v_c·u_s - s')"""
    first, second = begun.left.finish(rows.groups), begun.right.finish(rows.groups)
    u = p.each(client=lambda: begun.left.mask(rows.groups), server=lambda: known(begun.u).ring)
    v = p.each(client=lambda: begun.right.mask(rows.groups), server=lambda: known(begun.v).ring)
    if u is None or v is None:
        return MultiplyMade(None, None, None)
    return MultiplyMade(u, v, num.wrap(u * v[:, None] + known(first) + known(second)))


def multiply(p: Party, a: Share, b: Share, made: MultiplyMade) -> Share:
    """both -> both    a - u and b - v, l bits an element, in one flight"""
    num = a.num.times(b.num)
    rows = Rows(a.shape, b.shape)
    cut = rows.groups * rows.length

    def masked() -> Ring:
        return num.wrap(
            np.concatenate(
                [(rows.split(a.ring) - known(made.u)).ravel(), rows.split(b.ring).ravel() - known(made.v)]
            )
        )

    ours, theirs = p.swap(num.bits, (cut + rows.groups,), masked)

    def mine() -> Ring:
        both = known(ours) + known(theirs)
        d, e = both[:cut].reshape(rows.groups, rows.length), both[cut:, None]
        out = d * known(made.v)[:, None] + known(made.u) * e + known(made.uv)
        return num.wrap(rows.join(out + d * e if p.role is SERVER else out))

    return Share(num, a.shape, p.both(mine))


@dataclass(frozen=True, repr=False)
class ScaledMade:
    """The client's mask r, (groups, length), and shares of r·w."""

    TAG: ClassVar[str] = "scaled"

    r: Ring | None
    rw: Ring | None


def scaled_offline(p: Party, num: Fixed, rows: Rows, weight_bits: int, weight: Integers | None) -> ScaledMade:
    """``weight``, at the server: of ``rows.b``'s size, |w| < 2^(weight_bits-1)."""
    half = np.uint64(1 << (weight_bits - 1))
    r = p.each(client=lambda: p.prg.ring(num.bits, (rows.groups, rows.length)))
    share = gilboa_chosen(
        p, SERVER, num.bits, weight_bits, rows.groups, rows.length,
        choices=lambda: as_u64(known(weight)).reshape(-1) + half,
        rows=lambda: known(r),
    )  # fmt: skip
    if p.role is CLIENT:  # the choices were w + half
        share = num.wrap(known(share) - half * known(r))
    return ScaledMade(r, share)


def scaled_begin(p: Party, product: MatrixProduct, weight: Integers | None) -> NumbersAtServer:
    """client -> server    Enc(r)"""
    return NumbersAtServer(p, product, lambda: known(weight).reshape(-1))


def scaled_finish(p: Party, rows: Rows, begun: NumbersAtServer) -> ScaledMade:
    """server -> client    Enc(r·w - s)"""
    rw = begun.finish(rows.groups)
    return ScaledMade(p.each(client=lambda: begun.mask(rows.groups)), rw)


def scaled(p: Party, x: Share, rows: Rows, scale: int, weight: Integers | None, made: ScaledMade) -> Share:
    """client -> server    x - r, l bits an element; the product has ``scale`` more fraction bits"""
    num = Fixed(x.num.bits, x.num.scale + scale)
    opened = p.tell(CLIENT, num.bits, x.shape, lambda: num.wrap(x.ring - rows.join(known(made.r))))

    def server() -> Ring:
        w = as_u64(known(weight)).reshape(rows.b)
        return num.wrap((x.ring + known(opened)) * w + rows.join(known(made.rw)))

    return x.like(p.each(client=lambda: rows.join(known(made.rw)), server=server), num)
