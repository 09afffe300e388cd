"""Matrix products, their random part made under homomorphic encryption.

linear    [x·W]    W at the server         x: (batch, m, k), W: (batch or 1, k, n)
matmul    [A·B]    both shared             A: (batch, m, k), B: (batch, k, n)

A·B takes two such products of masks, a_c·b_s and b_cᵀ·a_sᵀ, each in the tile that suits it: one in which
the client's part is packed densely, where both at once would have to spread one of them out.

Offline the client sends encryptions of its masks, the server returns products that are re-randomised
and flooded, less a random mask of its own (Delphi, eprint 2020/050; Cheetah, eprint 2022/207). Each
offline half comes in two, so that all uploads of a plan share one flight and all answers another.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from .. import _ring
from ..base.ring import Fixed, Ring, Signed, known
from ..base.share import Share
from ..he.engine import Answer
from ..he.product import Product
from ..party.party import Party
from ..party.role import CLIENT, SERVER


@dataclass(frozen=True, repr=False)
class Begun:
    """A product that is under way.

    ``r`` (batch, m, k) is the client's mask, ``s`` (batch, m, n) the server's of the answer.
    """

    r: Ring | None
    s: Ring | None
    answer: Answer | None


def _begin(p: Party, product: Product, right: Callable[[], Ring | Signed]) -> Begun:
    """client -> server    Enc(r)        ``right()`` is called at the server alone"""
    s = p.each(server=lambda: p.prg.ring(product.ell, (product.batch, product.m, product.n)))
    r, up = p.he.upload(p, product)
    return Begun(r, s, p.each(server=lambda: p.he.start(product, known(up), right, known(s))))


def _finish(p: Party, product: Product, begun: Begun) -> Ring | None:
    """server -> client    Enc(r·right - s); this party's share of the product"""
    share = p.he.finish(p, product, begun.answer)
    return begun.s if p.role is SERVER else share


@dataclass(frozen=True, repr=False)
class LinearMade:
    """The client's mask r (1, m, k) and the shares of r·W (1, m, n)."""

    r: Ring | None
    rw: Ring | None


def linear_begin(p: Party, product: Product, weight: Callable[[], Signed]) -> Begun:
    """client -> server    Enc(r)        ``weight()`` is called at the server alone"""
    return _begin(p, product, lambda: weight()[None])


def linear_offline(p: Party, product: Product, begun: Begun) -> LinearMade:
    """server -> client    Enc(r·W - s)"""
    return LinearMade(begun.r, _finish(p, product, begun))


def linear(p: Party, x: Share, n: int, scale: int, weight: Callable[[], Signed], made: LinearMade) -> Share:
    """client -> server    x - r, l bits an element

    x is (1, m, k); the product is (1, m, n) and has ``scale`` more fraction bits.
    """
    num = Fixed(x.num.bits, x.num.scale + scale)
    opened = p.tell(CLIENT, num.bits, x.shape, lambda: num.wrap(x.ring - known(made.r)))
    mine = p.each(
        client=lambda: known(made.rw),
        server=lambda: num.wrap(_product(x.ring + known(opened), weight()[None]) + known(made.rw)),
    )
    return Share(num, (*x.shape[:-1], n), mine)


@dataclass(frozen=True, repr=False)
class MatmulMade:
    """This party's masks a (batch, m, k) and b (batch, k, n); its share of the masks' cross products."""

    a: Ring | None
    b: Ring | None
    cross: Ring | None


@dataclass(frozen=True, repr=False)
class MatmulBegun:
    """The server's masks, and the two products that are under way, with the client's in them."""

    a: Ring | None
    b: Ring | None
    left: Begun
    right: Begun


def matmul_begin(p: Party, left: Product, right: Product) -> MatmulBegun:
    """client -> server    Enc(a_c), Enc(b_cᵀ)

    ``left`` is the product of (batch, m, k) and (batch, k, n), ``right`` that of (batch, n, k) and
    (batch, k, m).
    """
    a = p.each(server=lambda: p.prg.ring(left.ell, (left.batch, left.m, left.k)))
    b = p.each(server=lambda: p.prg.ring(left.ell, (left.batch, left.k, left.n)))
    one, two = _begin(p, left, lambda: known(b)), _begin(p, right, lambda: _turned(known(a)))
    return MatmulBegun(a, b, one, two)


def matmul_offline(p: Party, left: Product, right: Product, begun: MatmulBegun) -> MatmulMade:
    """server -> client    Enc(a_c·b_s - s), Enc(b_cᵀ·a_sᵀ - s')"""
    one, two = _finish(p, left, begun.left), _finish(p, right, begun.right)
    cross = p.both(lambda: Fixed(left.ell).wrap(known(one) + _turned(known(two))))
    if p.role is SERVER:
        return MatmulMade(begun.a, begun.b, cross)
    b = p.each(client=lambda: _turned(known(begun.right.r)))
    return MatmulMade(begun.left.r, b, cross)


def matmul(p: Party, a: Share, b: Share, made: MatmulMade) -> Share:
    """both -> both    A - a and B - b, l bits an element, in one flight"""
    num = a.num.times(b.num)
    kept: list[Ring] = []

    def masked() -> Ring:
        flat = np.concatenate([(a.ring - known(made.a)).ravel(), (b.ring - known(made.b)).ravel()])
        kept.append(num.wrap(flat))
        return kept[0]

    other = p.swap(num.bits, (a.size + b.size,), masked)
    shape = (*a.shape[:-1], b.shape[-1])

    def mine() -> Ring:
        theirs = known(other)
        da, db = theirs[: a.size].reshape(a.shape), theirs[a.size :].reshape(b.shape)
        out = _product(a.ring + da, b.ring) + _product(known(made.a), db)
        return num.wrap(out + known(made.cross))

    return Share(num, shape, p.both(mine))


def _turned(x: Ring) -> Ring:
    return np.ascontiguousarray(x.swapaxes(-1, -2))


def _product(a: Ring, b: Ring | Signed) -> Ring:
    """Batched product over Z/2^64; either operand may have a batch of 1."""
    return _ring.matmul(np.ascontiguousarray(a, np.uint64), np.ascontiguousarray(b).view(np.uint64))
