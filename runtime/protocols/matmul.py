"""Matrix products, their random part made under homomorphic encryption.

linear    [x·W]    W at the server         x: (batch, m, k), W: (batch or 1, k, n)
matmul    [A·B]    both shared             A: (batch, m, k), B: (batch, k, n)

A·B takes two such products of masks, a_c·b_s and b_cᵀ·a_sᵀ, each in the tile that suits it: one in which
the client's part is packed densely, where both at once would have to spread one of them out.

Small products of a batch are made several at once: their rows below each other times their columns beside
each other. What is wanted are the blocks on the diagonal; the others are masked like these, and take the
coefficients that would be empty.

Offline the client sends encryptions of its masks, the server returns products that are re-randomised
and flooded, less a random mask of its own (Delphi, eprint 2020/050; Cheetah, eprint 2022/207). Each
offline half comes in two, so that all uploads of a plan share one flight and all answers another.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from .. import _ring
from ..base.prg import Drawn
from ..base.ring import Fixed, Integers, Ring, as_u64, known
from ..base.share import Share
from ..party.party import Party
from ..party.ports import MatrixProduct, PendingProduct
from ..party.role import CLIENT, SERVER
from .row_products import Axes


@dataclass(frozen=True, repr=False)
class LinearMade:
    """The client's mask r (1, m, k) and the shares of r·W (1, m, n)."""

    TAG: ClassVar[str] = "linear"

    r: Ring | None
    rw: Ring | None


def linear_begin(p: Party, product: MatrixProduct, weight: Integers | None) -> PendingProduct:
    """client -> server    Enc(r)        ``weight``, at the server: (k, n)"""
    return p.linear.begin(product, lambda: known(weight)[None])


def linear_offline(p: Party, pending: PendingProduct) -> LinearMade:
    """server -> client    Enc(r·W - s)"""
    return LinearMade(pending.mask, pending.finish())


def linear(p: Party, x: Share, n: int, scale: int, weight: Integers | None, made: LinearMade) -> Share:
    """client -> server    x - r, l bits an element

    x is (1, m, k), ``weight``, at the server, (k, n); the product is (1, m, n) and has ``scale`` more
    fraction bits.
    """
    num = Fixed(x.num.bits, x.num.scale + scale)
    opened = p.tell(CLIENT, num.bits, x.shape, lambda: num.wrap(x.ring - known(made.r)))
    mine = p.each(
        client=lambda: known(made.rw),
        server=lambda: num.wrap(ring_product(x.ring + known(opened), known(weight)[None]) + known(made.rw)),
    )
    return Share(num, (*x.shape[:-1], n), mine)


def at_once(axes: Axes, count: int) -> Axes:
    """Those of the product that makes ``count`` of a batch at once, a divisor of it."""
    batch, m, k, n = axes
    return batch // count, count * m, k, count * n


@dataclass(frozen=True, repr=False)
class MatmulMade:
    """This party's masks a (batch, m, k) and b (batch, k, n); its share of the masks' cross products."""

    TAG: ClassVar[str] = "matmul"

    a: Ring | None
    b: Ring | None
    cross: Ring | None


@dataclass(frozen=True, repr=False)
class MatmulBegun:
    """The server's masks, and the two products that are under way, with the client's in them."""

    axes: Axes
    a: Drawn | None
    b: Drawn | None
    left: PendingProduct
    right: PendingProduct


def matmul_begin(p: Party, axes: Axes, left: MatrixProduct, right: MatrixProduct) -> MatmulBegun:
    """client -> server    Enc(a_c), Enc(b_cᵀ)

    ``left`` makes products of (m, k) and (k, n), ``right`` of (n, k) and (k, m), one or several `at_once`.
    """
    batch, m, k, n = axes
    a = p.each(server=lambda: p.prg.later(left.ell, (batch, m, k)))
    b = p.each(server=lambda: p.prg.later(left.ell, (batch, k, n)))
    one = p.linear.begin(left, lambda: _beside(known(b).ring, left.batch))
    two = p.linear.begin(right, lambda: _beside(_turned(known(a).ring), right.batch))
    return MatmulBegun(axes, a, b, one, two)


def matmul_offline(p: Party, left: MatrixProduct, begun: MatmulBegun) -> MatmulMade:
    """server -> client    Enc(a_c·b_s - s), Enc(b_cᵀ·a_sᵀ - s')"""
    batch, m, k, n = begun.axes
    one, two = begun.left.finish(), begun.right.finish()
    cross = p.both(
        lambda: Fixed(left.ell).wrap(_diagonal(known(one), batch) + _turned(_diagonal(known(two), batch)))
    )
    if p.role is SERVER:
        return MatmulMade(known(begun.a).ring, known(begun.b).ring, cross)
    a = p.each(client=lambda: known(begun.left.mask).reshape(batch, m, k))
    b = p.each(client=lambda: _turned(known(begun.right.mask).reshape(batch, n, k)))
    return MatmulMade(a, b, cross)


def matmul(p: Party, a: Share, b: Share, made: MatmulMade | None) -> Share:
    """both -> both    A - a and B - b, l bits an element, in one flight

    ``made`` is None only while pricing.
    """
    num = a.num.times(b.num)

    def masked() -> Ring:
        piece = known(made)
        return num.wrap(
            np.concatenate([(a.ring - known(piece.a)).ravel(), (b.ring - known(piece.b)).ravel()])
        )

    _, theirs = p.swap(num.bits, (a.size + b.size,), masked)
    shape = (*a.shape[:-1], b.shape[-1])

    def mine() -> Ring:
        other, piece = known(theirs), known(made)
        da, db = other[: a.size].reshape(a.shape), other[a.size :].reshape(b.shape)
        out = ring_product(a.ring + da, b.ring) + ring_product(known(piece.a), db)
        return num.wrap(out + known(piece.cross))

    return Share(num, shape, p.both(mine))


def _beside(x: Ring, batch: int) -> Ring:
    """(…, k, n) as (batch, k, columns), those of several beside each other."""
    _, k, n = x.shape
    return np.ascontiguousarray(x.reshape(batch, -1, k, n).transpose(0, 2, 1, 3).reshape(batch, k, -1))


def _diagonal(x: Ring, batch: int) -> Ring:
    """The blocks on the diagonals of products made at once, (batch, m, n)."""
    count = batch // len(x)
    m, n = x.shape[1] // count, x.shape[2] // count
    blocks = x.reshape(-1, count, m, count, n).diagonal(axis1=1, axis2=3)
    return np.ascontiguousarray(np.moveaxis(blocks, -1, 1)).reshape(batch, m, n)


def _turned(x: Ring) -> Ring:
    return np.ascontiguousarray(x.swapaxes(-1, -2))


def ring_product(a: Ring, b: Ring | Integers) -> Ring:
    """Batched product over Z/2^64; either operand may have a batch of 1."""
    return _ring.matmul(as_u64(a), as_u64(b))
