"""Products under HE as protocols: against integers, at their price, malformed uploads refused."""

from __future__ import annotations

import numpy as np
import pytest
from spoil import spoil_uploads

from ppc.runtime.base.errors import PeerMismatch, RangeFault
from ppc.runtime.base.prg import Prg
from ppc.runtime.base.ring import Fixed
from ppc.runtime.base.share import Share
from ppc.runtime.cost.rates import he_seconds
from ppc.runtime.he.product import uniform_norm_bits
from ppc.runtime.he.tiling import plan_product
from ppc.runtime.party.ledger import Place
from ppc.runtime.party.party import Party, priced, reveal, together
from ppc.runtime.party.role import CLIENT, SERVER
from ppc.runtime.protocols import matmul as products
from ppc.runtime.session.engines import standard

rng = np.random.default_rng(3)


def split(num: Fixed, value: np.ndarray) -> dict:
    client = Prg().ring(num.bits, value.shape)
    return {CLIENT: client, SERVER: num.wrap(value.view(np.uint64) - client)}


def of(p: Party, num: Fixed, halves: dict) -> Share:
    return Share(num, halves[SERVER].shape, None if p.pricing else halves[p.role])


def run(program):
    server, client, ledger = together(program, standard)
    foretold = priced(program, standard)
    assert {k: (c.server, c.client, c.flights) for k, c in ledger.rows.items()} == {
        k: (c.server, c.client, c.flights) for k, c in foretold.rows.items()
    }
    return server, client


@pytest.mark.parametrize(("m", "k", "n", "bits"), [(3, 5, 4, 20), (32, 70, 33, 30), (1, 200, 2, 17)])
def test_linear(m, k, n, bits):
    num = Fixed(bits, 8)
    x, w = rng.integers(-500, 500, (1, m, k)), rng.integers(-100, 100, (k, n))
    product = plan_product(1, m, k, n, bits, he_seconds, norm_bits=uniform_norm_bits(8, k))
    halves = split(num, x)

    def program(p: Party):
        with p.ledger.at(Place("setup", "he")):
            p.linear.plan([product])
        with p.ledger.at(Place("offline", "linear")):
            made = products.linear_offline(p, products.linear_begin(p, product, w))
        with p.ledger.at(Place("online", "linear")):
            return products.linear(p, of(p, num, halves), n, 6, w, made)

    server, client = run(program)
    out = Fixed(bits, 14)
    assert server.num == out
    error = reveal(out.mask, server.ring, client.ring) - (x @ w).view(np.uint64)
    assert np.abs(out.signed(out.wrap(error))).max() <= 2**product.spare


@pytest.mark.parametrize(("at_left", "at_right"), [(1, 1), (3, 1), (6, 2)])
def test_matmul_of_two_shares(at_left, at_right):
    """One of the batch at a time, or several at once."""
    num = Fixed(26, 6)
    a, b = rng.integers(-300, 300, (6, 8, 5)), rng.integers(-300, 300, (6, 5, 7))
    axes = (6, 8, 5, 7)
    both = (
        plan_product(*products.at_once(axes, at_left), 26, he_seconds),
        plan_product(*products.at_once((6, 7, 5, 8), at_right), 26, he_seconds),
    )
    left, right = split(num, a), split(num, b)

    def program(p: Party):
        with p.ledger.at(Place("setup", "he")):
            p.linear.plan(both)
        with p.ledger.at(Place("offline", "matmul")):
            made = products.matmul_offline(p, both[0], products.matmul_begin(p, axes, *both))
        with p.ledger.at(Place("online", "matmul")):
            return products.matmul(p, of(p, num, left), of(p, num, right), made)

    server, client = run(program)
    out = Fixed(26, 12)
    error = out.signed(reveal(out.mask, server.ring, client.ring)) - a @ b
    assert np.abs(error).max() <= sum(2**product.spare for product in both)


def test_a_malformed_upload_is_refused(monkeypatch):
    product = plan_product(1, 4, 8, 4, 20, he_seconds, norm_bits=8)
    spoil_uploads(monkeypatch)

    def program(p: Party):
        p.linear.plan([product])
        return products.linear_offline(p, products.linear_begin(p, product, np.ones((8, 4), np.int64)))

    with pytest.raises(PeerMismatch, match="malformed"):
        together(program, standard)


def test_a_matrix_beyond_the_announced_norm_is_refused():
    product = plan_product(1, 4, 8, 4, 20, he_seconds, norm_bits=3)

    def program(p: Party):
        p.linear.plan([product])
        begun = products.linear_begin(p, product, np.full((8, 4), 100, np.int64))
        return products.linear_offline(p, begun)

    with pytest.raises(RangeFault, match="norm above"):
        together(program, standard)
