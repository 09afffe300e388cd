"""Rows that are kept are masked once: products as integers say, a row opened once, and none too early."""

from __future__ import annotations

import numpy as np
import pytest
from evenness import SURE, evenness
from test_matmul import of, run, split

from ppc.runtime.base.ring import Fixed
from ppc.runtime.base.share import Share
from ppc.runtime.cost.rates import he_seconds
from ppc.runtime.he.tiling import plan_product
from ppc.runtime.party.ledger import Place
from ppc.runtime.party.party import Party, reveal
from ppc.runtime.party.role import CLIENT, SERVER
from ppc.runtime.protocols.cached import Opened, cached, cached_apart
from ppc.runtime.protocols.matmul import matmul_begin, matmul_offline

BATCH, M, WIDTH, TOTAL = 2, 3, 5, 6
"""Rows of a state are ``WIDTH`` numbers, and ``TOTAL`` there may be."""

TOGETHER, KEPT = 3, 2
"""Programs whose material is made together, and rows that are there when the first of them begins."""

BITS = 26
NUM = Fixed(BITS, 6)
rng = np.random.default_rng(5)


class Text:
    """Rows, written one after the other, and what each program multiplies them by."""

    def __init__(self, along: str) -> None:
        self.along = along
        self.rows = rng.integers(-300, 300, (BATCH, KEPT + TOGETHER, WIDTH))
        k, n = (TOTAL, WIDTH) if along == "k" else (WIDTH, TOTAL)
        self.axes = (BATCH, TOGETHER * M, k, n)
        self.a = [rng.integers(-300, 300, (BATCH, M, k)) for _ in range(TOGETHER)]
        self.halves = split(NUM, self.rows), [split(NUM, each) for each in self.a]
        self.products = tuple(
            plan_product(*axes, BITS, he_seconds)
            for axes in ((BATCH, TOGETHER * M, k, n), (BATCH, n, k, TOGETHER * M))
        )

    def held(self, rows: np.ndarray, kept: int) -> np.ndarray:
        """B: rows that are kept, 0 for those to come, the new one last."""
        out = np.zeros((BATCH, TOTAL, WIDTH), rows.dtype)
        out[:, :kept], out[:, -1] = rows[:, :kept], rows[:, kept]
        return out if self.along == "k" else np.ascontiguousarray(out.swapaxes(1, 2))

    def b(self, p: Party, kept: int) -> Share:
        _, _, k, n = self.axes
        shares = None if p.pricing else self.held(self.halves[0][p.role], kept)
        return Share(NUM, (BATCH, k, n), shares)

    def wanted(self, at: int) -> np.ndarray:
        """With 0 for what is multiplied by rows to come, which the protocol leaves out."""
        return self.a[at] @ self.held(self.rows, KEPT + at)

    def program(self, p: Party):
        with p.ledger.at(Place("setup", "he")):
            p.linear.plan(self.products)
        with p.ledger.at(Place("offline", "cached")):
            begun = matmul_begin(p, self.axes, *self.products)
            pieces = cached_apart(matmul_offline(p, self.products[0], begun), TOGETHER)
        opened, found = Opened(), []
        for at, piece in enumerate(pieces):
            with p.ledger.at(Place("online", f"cached {at}")):
                a = of(p, NUM, self.halves[1][at])
                found.append(cached(p, a, self.b(p, KEPT + at), piece, self.along, KEPT + at, opened))
        return found, pieces, opened


@pytest.fixture(params=["k", "n"])
def text(request):
    return Text(request.param)


def test_each_program_finds_its_product(text):
    (server, _, _), (client, _, _) = run(text.program)
    slack = sum(2**each.spare for each in text.products)
    for at, (mine, theirs) in enumerate(zip(server, client, strict=True)):
        num = Fixed(BITS, 12)
        found = num.signed(reveal(num.mask, mine.ring, theirs.ring))
        assert mine.num == num
        assert np.abs(found - text.wanted(at)).max() <= slack


def said(monkeypatch, text):
    """What each role opens in each program: of A, and of the rows."""
    swap, heard = Party.swap, {SERVER: [], CLIENT: []}

    def listened(p, bits, shape, make):
        mine, theirs = swap(p, bits, shape, make)
        if mine is not None:
            size = BATCH * M * text.axes[2]
            heard[p.role].append((mine[:size], mine[size:].reshape(BATCH, -1, WIDTH)))
        return mine, theirs

    monkeypatch.setattr(Party, "swap", listened)
    results = dict(zip((SERVER, CLIENT), run(text.program), strict=True))
    return heard, results


def test_a_row_is_opened_once_and_none_before_it_is_written(monkeypatch, text):
    heard, results = said(monkeypatch, text)
    for role, told in heard.items():
        _, pieces, opened = results[role]
        first, *others = (rows for _, rows in told)
        assert first.shape[1] == TOTAL
        assert not first[:, KEPT + 1 :].any(), "0, not the mask alone"
        assert [rows.shape[1] for rows in others] == [1] * (TOGETHER - 1)
        mask = pieces[0].b if text.along == "k" else pieces[0].b.swapaxes(1, 2)
        shown = np.concatenate([first[:, : KEPT + 1], *others], axis=1)
        mine = NUM.wrap(shown + mask[:, : KEPT + TOGETHER])
        assert np.array_equal(mine, text.halves[0][role]), "each row under its own place of the mask"
        assert opened.rows == KEPT + TOGETHER


def test_of_the_other_operand_each_program_has_a_mask_of_its_own(text):
    (_, pieces, _), _ = run(text.program)
    assert len({each.a.tobytes() for each in pieces}) == TOGETHER
    assert len({each.b.tobytes() for each in pieces}) == 1
    assert [bool(each.first) for each in pieces] == [True, *[False] * (TOGETHER - 1)]


@pytest.mark.long
def test_what_is_opened_is_uniform_and_new_in_each_run(monkeypatch, text):
    seen = {SERVER: [], CLIENT: []}
    for _ in range(8):
        with monkeypatch.context() as patch:
            heard, _ = said(patch, text)
        for role, told in heard.items():
            rows = [told[0][1][:, : KEPT + 1], *(rows for _, rows in told[1:])]
            seen[role].append(np.concatenate([*(a.ravel() for a, _ in told), *(x.ravel() for x in rows)]))
    for found in seen.values():
        assert not {test: p for test, p in evenness(np.stack(found), BITS).items() if not p > SURE}


def test_what_a_peer_says_of_rows_that_are_not_there_changes_nothing(monkeypatch, text):
    """It sends 0; another number is not looked at."""
    swap = Party.swap

    def lying(p, bits, shape, make):
        def made():
            out = make()
            if p.role is CLIENT and shape[0] > BATCH * (M * text.axes[2] + WIDTH):
                rows = out[BATCH * M * text.axes[2] :].reshape(BATCH, TOTAL, WIDTH)
                rows[:, KEPT + 1 :] = 77
            return out

        return swap(p, bits, shape, made)

    monkeypatch.setattr(Party, "swap", lying)
    (server, _, _), (client, _, _) = run(text.program)
    num = Fixed(BITS, 12)
    found = num.signed(reveal(num.mask, server[0].ring, client[0].ring))
    assert np.abs(found - text.wanted(0)).max() <= sum(2**each.spare for each in text.products)
