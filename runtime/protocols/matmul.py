"""Matrix products, their random part made under homomorphic encryption.

linear    [x·W]    W at the server         x: (batch, m, k), W: (batch or 1, k, n)
matmul    [A·B]    both shared             A: (batch, m, k), B: (batch, k, n)

Offline the client sends encryptions of its masks, the server returns products that are re-randomised
and flooded, less a random mask of its own (Delphi, eprint 2020/050; Cheetah, eprint 2022/207). Each
offline half comes in two, so that all uploads of a plan share one flight and all answers another.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from .. import _ring
from ..he_product import Product
from ..he_session import Answer
from ..ledger import CLIENT, SERVER
from ..party import Party
from ..ring import Fixed, Ring, Signed, known
from ..share import Share


@dataclass(frozen=True, repr=False)
class Begun:
    """A product whose masks have been encrypted and whose answer is under way.

    ``a`` (batch, m, k) and ``b`` (batch, k, n) are this party's masks, as far as it has them; ``s`` the
    server's mask of the answer.
    """

    a: Ring | None
    b: Ring | None
    s: Ring | None
    answer: Answer | None


@dataclass(frozen=True, repr=False)
class LinearMade:
    """The client's mask r (1, m, k) and the shares of r·W (1, m, n)."""

    r: Ring | None
    rw: Ring | None


def linear_begin(p: Party, product: Product, weight: Callable[[], Signed]) -> Begun:
    """client -> server    Enc(r)        ``weight()`` is called at the server alone"""
    ell = product.ell
    r = p.each(client=lambda: p.prg.ring(ell, (product.batch, product.m, product.k)))
    s = p.each(server=lambda: p.prg.ring(ell, (product.batch, product.m, product.n)))
    up = p.he.upload(p, product, r, None)
    answer = p.each(server=lambda: p.he.start(product, known(up), lambda: (weight()[None], None), s))
    return Begun(r, None, s, answer)


def linear_offline(p: Party, product: Product, begun: Begun) -> LinearMade:
    """server -> client    Enc(r·W - s)"""
    share = p.he.finish(p, product, begun.answer)
    return LinearMade(begun.a, begun.s if p.role is SERVER else share)


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


def matmul_begin(p: Party, product: Product) -> Begun:
    """client -> server    Enc(a_c), Enc(b_c)"""
    ell, batch = product.ell, product.batch
    a = p.random(ell, (batch, product.m, product.k))
    b = p.random(ell, (batch, product.k, product.n))
    s = p.each(server=lambda: p.prg.ring(ell, (batch, product.m, product.n)))
    up = p.he.upload(p, product, a, b)
    answer = p.each(server=lambda: p.he.start(product, known(up), lambda: (known(b), a), s))
    return Begun(a, b, s, answer)


def matmul_offline(p: Party, product: Product, begun: Begun) -> MatmulMade:
    """server -> client    Enc(a_c·b_s + a_s·b_c - s)"""
    share = p.he.finish(p, product, begun.answer)
    return MatmulMade(begun.a, begun.b, begun.s if p.role is SERVER else share)


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


def _product(a: Ring, b: Ring | Signed) -> Ring:
    """Batched product over Z/2^64; either operand may have a batch of 1."""
    return _ring.matmul(np.ascontiguousarray(a, np.uint64), np.ascontiguousarray(b).view(np.uint64))
