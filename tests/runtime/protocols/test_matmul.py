"""Products under HE as protocols: against integers, at their price, malformed uploads refused."""

from __future__ import annotations

import numpy as np
import pytest

from ppc.runtime.base.errors import PeerMismatch, RangeFault
from ppc.runtime.base.prg import Prg
from ppc.runtime.base.ring import Fixed
from ppc.runtime.base.share import Share
from ppc.runtime.cost.rates import he_seconds
from ppc.runtime.he.engine import HeSession
from ppc.runtime.he.product import uniform_norm_bits
from ppc.runtime.he.tiling import plan_product
from ppc.runtime.party.party import Party, priced, reveal, together
from ppc.runtime.party.role import CLIENT, SERVER
from ppc.runtime.protocols import matmul as products

rng = np.random.default_rng(3)


def split(num: Fixed, value: np.ndarray) -> dict:
    client = Prg().ring(num.bits, value.shape)
    return {CLIENT: client, SERVER: num.wrap(value.view(np.uint64) - client)}


def of(p: Party, num: Fixed, halves: dict) -> Share:
    return Share(num, halves[SERVER].shape, None if p.pricing else halves[p.role])


def run(program):
    server, client, ledger = together(program)
    foretold = priced(program)
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
        with p.ledger.at("setup", "he"):
            p.he = HeSession(p, [product])
        with p.ledger.at("offline", "linear"):
            made = products.linear_offline(p, product, products.linear_begin(p, product, lambda: w))
        with p.ledger.at("online", "linear"):
            return products.linear(p, of(p, num, halves), n, 6, lambda: w, made)

    server, client = run(program)
    out = Fixed(bits, 14)
    assert server.num == out
    got = out.signed(reveal(out.mask, server.ring, client.ring))
    assert np.array_equal(got, out.signed(out.wrap((x @ w).view(np.uint64))))


def test_matmul_of_two_shares():
    num = Fixed(26, 6)
    a, b = rng.integers(-300, 300, (3, 8, 5)), rng.integers(-300, 300, (3, 5, 7))
    both = plan_product(3, 8, 5, 7, 26, he_seconds), plan_product(3, 7, 5, 8, 26, he_seconds)
    left, right = split(num, a), split(num, b)

    def program(p: Party):
        with p.ledger.at("setup", "he"):
            p.he = HeSession(p, both)
        with p.ledger.at("offline", "matmul"):
            made = products.matmul_offline(p, *both, products.matmul_begin(p, *both))
        with p.ledger.at("online", "matmul"):
            return products.matmul(p, of(p, num, left), of(p, num, right), made)

    server, client = run(program)
    out = Fixed(26, 12)
    assert np.array_equal(out.signed(reveal(out.mask, server.ring, client.ring)), a @ b)


def test_a_malformed_upload_is_refused(monkeypatch):
    product = plan_product(1, 4, 8, 4, 20, he_seconds, norm_bits=8)
    real = HeSession.start

    def start(self, product, upload, matrices, mask):
        upload[0] = upload[0][:-1]
        return real(self, product, upload, matrices, mask)

    monkeypatch.setattr(HeSession, "start", start)

    def program(p: Party):
        p.he = HeSession(p, [product])
        return products.linear_offline(
            p, product, products.linear_begin(p, product, lambda: np.ones((8, 4), np.int64))
        )

    with pytest.raises(PeerMismatch, match="malformed"):
        together(program)


def test_a_matrix_beyond_the_announced_norm_is_refused():
    product = plan_product(1, 4, 8, 4, 20, he_seconds, norm_bits=3)

    def program(p: Party):
        p.he = HeSession(p, [product])
        begun = products.linear_begin(p, product, lambda: np.full((8, 4), 100, np.int64))
        return products.linear_offline(p, product, begun)

    with pytest.raises(RangeFault, match="norm above"):
        together(program)
