"""Products with rows that are kept: a mask stays with its row, which is opened once.

    cached    [A·B]    as `matmul`; one axis of B are the rows of a state, which grows by one each time

Of several programs whose material is made together (`party.ahead`) each has a mask α of its own for A, and
all have the same β for the rows of B, those that are still to come among them. So one product under HE makes
all cross products, and β is encrypted once. Online each program opens A - α, and of B - β what it has not
opened yet: the first all rows, any other the one that is new.

A row that is kept does not change, nor do its shares. So B - β of it is one message however often it serves,
and tells what it told the first time: nothing, as β is uniform. α is fresh, and the server's masks of the
products are. What must not be is that β of a row meets two values. So of a row that is not written yet 0 is
sent, and not 0 - β; and when a text ends, rows, what is left of the material and what was opened go together
(`Connection.infer`). That B is what is kept, a plan has to show (`plan.kept`).

Row r of the state has place r of β. In B the new row stands last, and those that are not written before it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np

from ..base.ring import Ring, known
from ..base.share import Share
from ..party.party import Party
from .matmul import MatmulMade, ring_product
from .pieces import split

Along = Literal["k", "n"]
"""Which axis of B, (batch, k, n), the rows are."""


@dataclass(frozen=True, repr=False)
class CachedMade:
    """This party's mask of A (batch, m, k), of all rows of B (batch, k, n), its share of the cross products.

    ``first``: nothing of B is opened yet.
    """

    TAG: ClassVar[str] = "cached"

    a: Ring | None
    b: Ring | None
    cross: Ring | None
    first: bool


@dataclass(repr=False)
class Opened:
    """What the peer has said of B - β, its share less its mask: (batch, rows, …), so many of them open."""

    rows: int = 0
    theirs: Ring | None = None


def cached_apart(made: MatmulMade, count: int) -> list[CachedMade]:
    """Of as many programs in order, of ``made`` for all their rows of A."""
    a, cross = split(made.a, count, 1), split(made.cross, count, 1)
    return [CachedMade(a[i], made.b, cross[i], i == 0) for i in range(count)]


def cached(
    p: Party, a: Share, b: Share, made: CachedMade | None, along: Along, kept: int, opened: Opened
) -> Share:
    """both -> both    A - α, and B - β of rows that are not opened yet, l bits an element, in one flight

    ``kept`` rows of B are there, and the new one. ``made`` is None only while pricing, of a later program.
    """
    num, total, written = a.num.times(b.num), b.shape[1 if along == "k" else 2], kept + 1
    first = made is not None and made.first
    begin = 0 if first else opened.rows
    end = total if first else written
    order = np.r_[:kept, total - 1, kept : total - 1]

    def by_rows(x: Ring) -> Ring:
        return x.swapaxes(-1, -2) if along == "n" else x

    def operand() -> Ring:
        """A, whose numbers for rows that are not written count for nothing."""
        if along == "n":
            return a.ring
        x = a.ring[..., order]
        x[..., written:] = 0
        return x

    def rows() -> Ring:
        """B by rows of the state; where none is written its mask."""
        x = by_rows(b.ring)[:, order]
        x[:, written:] = by_rows(known(known(made).b))[:, written:]
        return x

    left, right = p.both(operand), p.both(rows)

    def masked() -> Ring:
        piece = known(made)
        hidden = (known(right) - by_rows(known(piece.b)))[:, begin:end]
        return num.wrap(np.concatenate([(known(left) - known(piece.a)).ravel(), hidden.ravel()]))

    _, heard = p.swap(num.bits, (a.size + b.size // total * (end - begin),), masked)

    def share() -> Ring:
        piece, said = known(made), known(heard)
        if first or opened.theirs is None:
            opened.theirs = np.zeros(by_rows(b.ring).shape, np.uint64)
        new = said[a.size :].reshape(len(opened.theirs), end - begin, -1)
        opened.theirs[:, begin:written] = new[:, : written - begin]
        out = ring_product(known(left) + said[: a.size].reshape(a.shape), by_rows(known(right)))
        out = num.wrap(out + ring_product(known(piece.a), by_rows(opened.theirs)) + known(piece.cross))
        if along == "k":
            return out
        out[..., written:] = 0
        placed = np.empty_like(out)
        placed[..., order] = out
        return placed

    mine = p.both(share)
    opened.rows = written
    return Share(num, (*a.shape[:-1], b.shape[-1]), mine)
