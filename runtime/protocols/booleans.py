"""XOR-shared bits: AND with a shared factor, and selection of ring elements.

AND needs no message offline. Where the sender's two random keys are k0, k1 and the receiver's choice
is u, k0 xor k_u = u·(k0 xor k1): a random product of a receiver's and a sender's bit. Two of them, one
each way, and local terms make a triple (Beaver, CRYPTO 1991).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from ..base.ring import Fixed, Ring, known
from ..base.share import Share
from ..party.party import Part, Party
from ..party.role import CLIENT, SERVER
from .random_ot import RandomOt, keyed_ot, random_ot

Bits = NDArray[np.uint8]


@dataclass(frozen=True, repr=False)
class AndMade:
    """Shares of u (0/1), v and u·v (``width`` bits each), shape (count,)."""

    TAG: ClassVar[str] = "and"

    width: int
    count: int
    u: Bits | None
    v: Bits | None
    uv: Bits | None


def and_offline(p: Party, count: int, width: int) -> AndMade:
    """``count`` triples u·(v_1 … v_width) with one u each; width at most 8."""
    ours = keyed_ot(p, SERVER, count, 1)
    theirs = keyed_ot(p, CLIENT, count, 1)
    if p.pricing:
        return AndMade(width, count, None, None, None)
    sent, got = (ours, theirs) if p.role is SERVER else (theirs, ours)
    keep = np.uint8((1 << width) - 1)
    k0, k1, k = (known(x)[:, 0] & keep for x in (sent.k0, sent.k1, got.k))
    u, v = known(got.choice), k0 ^ k1
    return AndMade(width, count, u, v, (u * v) ^ k0 ^ k)


def and_rows(p: Party, x: Bits | None, y: Bits | None, made: list[AndMade]) -> list[Bits | None]:
    """Shares of x·y for each batch of ``made``: x (0/1) and y (``width`` bits), concatenated.

    both -> both    x - u and y - v, 1 + width bits each, all batches in one flight
    """
    total = sum(m.count * (1 + m.width) for m in made)

    def bits_of(values: Bits, width: int) -> Bits:
        return ((values[:, None] >> np.arange(width, dtype=np.uint8)) & np.uint8(1)).reshape(-1)

    def opening() -> Ring:
        at, flat = 0, []
        for m in made:
            here = slice(at, at + m.count)
            flat += [known(x)[here] ^ known(m.u), bits_of(known(y)[here] ^ known(m.v), m.width)]
            at += m.count
        return np.concatenate(flat).astype(np.uint64)

    mine, theirs = p.swap(1, (total,), opening)
    if mine is None or theirs is None:
        return [None] * len(made)
    at, out = 0, []
    flat = (mine ^ theirs).astype(np.uint8)
    for m in made:
        d = flat[at : at + m.count]
        at += m.count
        bits = flat[at : at + m.count * m.width].reshape(m.count, m.width)
        at += m.count * m.width
        e = np.bitwise_or.reduce(bits << np.arange(m.width, dtype=np.uint8), axis=1).astype(np.uint8)
        z = (d * known(m.v)) ^ (known(m.u) * e) ^ known(m.uv)
        out.append(z ^ (d * e) if p.role is SERVER else z)
    return out


@dataclass(frozen=True, repr=False)
class SelectMade:
    TAG: ClassVar[str] = "select"

    sent: RandomOt
    got: RandomOt


def select_offline(p: Party, num: Fixed, shape: tuple[int, ...]) -> SelectMade:
    """Two random OTs, one each way, for each place of ``shape``."""
    ours = random_ot(p, SERVER, num.bits, shape)
    theirs = random_ot(p, CLIENT, num.bits, shape)
    return SelectMade(ours, theirs) if p.role is SERVER else SelectMade(theirs, ours)


Selected = tuple[Share, Share, SelectMade]
"""A bit, what it selects, and the material for it."""


def select(p: Party, bit: Share, x: Share, made: SelectMade) -> Share:
    """[bit·x] <- [bit] in Z/2, [x] in Z/2^l, of one shape.

    With b = b0 xor b1: b·x0 = b0·x0 + b1·(1 - 2·b0)·x0, the last term by a correlated OT chosen with b1.

    both -> both    choice bits, corrected
    both -> both    t0 - t1 + (1 - 2b)·x, l bits an element
    """
    return select_all(p, [(bit, x, made)])[0]


def select_all(p: Party, asked: Sequence[Selected]) -> list[Share]:
    """Several selections, in the flights of one."""

    def corrected(bit: Share, x: Share, made: SelectMade) -> Part:
        return 1, x.shape, lambda: bit.ring ^ known(made.got.choice)

    flips = [flip for _, flip in p.swap_all([corrected(*each) for each in asked])]

    def chosen(bit: Share, x: Share, made: SelectMade, flip: Ring | None) -> Part:
        def message() -> Ring:
            t0, t1 = _turned(made.sent, known(flip))
            return x.num.wrap(t0 - t1 + (np.uint64(1) - np.uint64(2) * bit.ring) * x.ring)

        return x.num.bits, x.shape, message

    taus = p.swap_all([chosen(*each, flip) for each, flip in zip(asked, flips, strict=True)])

    def mine(bit: Share, x: Share, made: SelectMade, flip: Ring | None, tau: Ring | None) -> Ring:
        t0, _ = _turned(made.sent, known(flip))
        return x.num.wrap(bit.ring * x.ring - t0 + known(made.got.t) + bit.ring * known(tau))

    both = zip(asked, flips, taus, strict=True)
    return [each[1].like(p.both(partial(mine, *each, flip, tau))) for each, flip, (_, tau) in both]


def _turned(sent: RandomOt, flip: Ring) -> tuple[Ring, Ring]:
    t0, t1 = known(sent.t0), known(sent.t1)
    swap = flip.astype(bool)
    return np.where(swap, t1, t0), np.where(swap, t0, t1)
