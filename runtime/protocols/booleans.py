"""XOR-shared bits: AND with a shared factor, and selection of ring elements.

AND needs no message offline. Where the sender's two random keys are k0, k1 and the receiver's choice
is u, k0 xor k_u = u·(k0 xor k1): a random product of a receiver's and a sender's bit. Two of them, one
each way, and local terms make a triple (Beaver, CRYPTO 1991).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from .. import _ring
from ..base.ring import Fixed, Ring, known
from ..base.share import Share
from ..base.wire import Buffer, as_bytes
from ..party.party import Party
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
    widths = [m.width for m in made]
    total = sum(m.count * (1 + m.width) for m in made)

    def masks() -> tuple[list[Bits], list[Bits]]:
        return [known(m.u) for m in made], [known(m.v) for m in made]

    def opening() -> Buffer:
        return _ring.and_open(known(x), known(y), *masks(), widths).data

    ((mine, theirs),) = p.swap_packed([(1, total, opening)])
    if mine is None or theirs is None:
        return [None] * len(made)
    uv, first = [known(m.uv) for m in made], p.role is SERVER
    z = _ring.and_close(as_bytes(mine), as_bytes(theirs), *masks(), uv, widths, first)
    return list(np.split(z, np.cumsum([m.count for m in made])[:-1]))


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

    With b = b0 xor b1 and y0 = (1 - 2·b0)·x0: b·x0 = b0·x0 + b1·y0. Of the random OT whose receiver has b1,
    with choice u and key t0 + u·(t1 - t0), u·(t1 - t0) is shared already; so b1·y0 is opened against u and
    t1 - t0 as a product is (Beaver, CRYPTO 1991), the other way round at the same time.

    both -> both    b xor u, y - (t1 - t0): 1 + l bits an element
    """
    return select_all(p, [(bit, x, made)])[0]


def select_all(p: Party, asked: Sequence[Selected]) -> list[Share]:
    """Several selections, in one flight."""

    def opening(bit: Share, x: Share, made: SelectMade) -> tuple[int, int, Callable[[], Buffer]]:
        def message() -> Buffer:
            t0, t1, choice = _flat(made.sent.t0), _flat(made.sent.t1), _flat(made.got.choice)
            return _ring.select_open(t0, t1, choice, _flat(bit.ring), _flat(x.ring), x.num.bits).data

        return 1 + x.num.bits, x.size, message

    def chosen(bit: Share, x: Share, made: SelectMade, came: Buffer | None) -> Ring:
        assert came is not None
        return _ring.select_close(
            _flat(made.sent.t0), _flat(made.got.choice), _flat(made.got.t),
            _flat(bit.ring), _flat(x.ring), as_bytes(came), x.num.bits,
        ).reshape(x.shape)  # fmt: skip

    opened = p.swap_packed([opening(*each) for each in asked])
    both = zip(asked, opened, strict=True)
    return [each[1].like(p.both(partial(chosen, *each, came))) for each, (_, came) in both]


def _flat(x: Ring | None) -> Ring:
    return np.ascontiguousarray(known(x)).reshape(-1)
