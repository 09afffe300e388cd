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
from ..channel import Buffer
from ..he_product import Product
from ..ledger import CLIENT, SERVER
from ..party import Party
from ..ring import Fixed, Ring, Signed, known
from ..share import Share


@dataclass(frozen=True, repr=False)
class Uploaded:
    """The client's masks, or the server's copy of their encryption."""

    a: Ring | None
    b: Ring | None
    parts: list[Buffer] | None


@dataclass(frozen=True, repr=False)
class LinearMade:
    """The client's mask r (batch, m, k) and the shares of r·W (batch, m, n)."""

    r: Ring | None
    rw: Ring | None


def upload_offline(p: Party, product: Product) -> Uploaded:
    """client -> server    Enc(masks)"""
    ell = product.ell
    a = p.each(client=lambda: p.prg.ring(ell, (product.batch, product.m, product.k)))
    b = None
    if product.two_sided:
        b = p.each(client=lambda: p.prg.ring(ell, (product.batch, product.k, product.n)))
    return Uploaded(a, b, p.he.upload(p, product, a, b))


def linear_offline(p: Party, product: Product, up: Uploaded, weight: Callable[[], Signed]) -> LinearMade:
    """server -> client    Enc(r·W - s)        ``weight()`` is called at the server alone"""
    mask = p.each(server=lambda: p.prg.ring(product.ell, (product.batch, product.m, product.n)))
    v = p.each(server=lambda: weight()[None])
    share = p.he.answer(p, product, up.parts, v, mask, None)
    return LinearMade(up.a, mask if p.role is SERVER else share)


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


def matmul_offline(p: Party, product: Product, up: Uploaded) -> MatmulMade:
    """server -> client    Enc(a_c·b_s + a_s·b_c - s)"""
    ell, batch = product.ell, product.batch
    a = p.each(server=lambda: p.prg.ring(ell, (batch, product.m, product.k)), client=lambda: up.a)
    b = p.each(server=lambda: p.prg.ring(ell, (batch, product.k, product.n)), client=lambda: up.b)
    mask = p.each(server=lambda: p.prg.ring(ell, (batch, product.m, product.n)))
    share = p.he.answer(
        p, product, up.parts, b if p.role is SERVER else None, mask, a if p.role is SERVER else None
    )
    return MatmulMade(a, b, mask if p.role is SERVER else share)


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
