"""Products of rows with numbers and with rows under HE: against integers, at their price, for any number of
groups."""

from __future__ import annotations

import numpy as np
import pytest
from test_matmul import of, run, split

from ppc.runtime.base.ring import Fixed
from ppc.runtime.cost.rates import he_seconds
from ppc.runtime.he.product import Product
from ppc.runtime.he.tiling import plan_product
from ppc.runtime.party.ledger import Place
from ppc.runtime.party.party import Party, reveal
from ppc.runtime.protocols import multiply as elementwise
from ppc.runtime.protocols.multiply import Rows
from ppc.runtime.protocols.pieces import pieces
from ppc.runtime.protocols.row_products import Axes, numbers_at_client, numbers_at_server, rows_at_both

rng = np.random.default_rng(4)
NUM = Fixed(26, 6)


def planned(axes: Axes, norm_bits: int | None = None) -> Product:
    return plan_product(*axes, NUM.bits, he_seconds, norm_bits=norm_bits, spare=3)


def setup(p: Party, *products: Product) -> None:
    with p.ledger.at(Place("setup", "he")):
        p.linear.plan(products)


def error(server, client, wanted):
    out = server.num
    shares = out.wrap(reveal(out.mask, server.ring, client.ring) - wanted.view(np.uint64))
    return np.abs(out.signed(shares)).max()


@pytest.mark.parametrize(("shape", "b"), [((5, 9), 1), ((5, 9), 2), ((2, 3, 9), 6), ((1, 70), 1)])
def test_square_sum(shape, b):
    x = rng.integers(-300, 300, shape)
    groups = x.size // shape[-1]
    product, halves = planned(rows_at_both(groups, shape[-1], b)), split(NUM, x)

    def program(p: Party):
        setup(p, product)
        with p.ledger.at(Place("offline", "square sum")):
            begun = elementwise.square_sum_begin(p, product, groups)
            made = elementwise.square_sum_offline(p, NUM, groups, begun)
        with p.ledger.at(Place("online", "square sum")):
            return elementwise.square_sum(p, of(p, NUM, halves), made)

    server, client = run(program)
    assert server.num == NUM.times(NUM)
    assert error(server, client, (x * x).sum(axis=-1)) <= 2 * 2**product.spare


@pytest.mark.parametrize(
    ("a", "b", "left", "right"),
    [((5, 9), (5, 1), 1, 5), ((5, 9), (1, 9), 4, 2), ((3, 4, 5), (3, 1, 5), 4, 4), ((7, 2), (7, 2), 4, 8)],
)
def test_multiply(a, b, left, right):
    x, y = rng.integers(-300, 300, a), rng.integers(-300, 300, b)
    rows = Rows(a, b)
    both = (
        planned(numbers_at_server(rows.groups, rows.length, left)),
        planned(numbers_at_client(rows.groups, rows.length, right)),
    )
    first, second = split(NUM, x), split(NUM, y)

    def program(p: Party):
        setup(p, *both)
        with p.ledger.at(Place("offline", "multiply")):
            made = elementwise.multiply_finish(p, NUM, rows, elementwise.multiply_begin(p, rows, *both))
        with p.ledger.at(Place("online", "multiply")):
            return elementwise.multiply(p, of(p, NUM, first), of(p, NUM, second), made)

    server, client = run(program)
    assert error(server, client, x * y) <= 2 * 2 ** both[0].spare


def test_each_takes_its_part_of_what_is_made_together():
    a, b, count = (2, 9), (1, 9), 3
    x, y = rng.integers(-300, 300, (count, *a)), rng.integers(-300, 300, (count, *b))
    rows = Rows((count, *a), (count, *b))
    squared = planned(rows_at_both(count * a[0], a[1], 4))
    both = (
        planned(numbers_at_server(rows.groups, rows.length, 4)),
        planned(numbers_at_client(rows.groups, rows.length, 8)),
    )
    halves = [(split(NUM, each), split(NUM, other)) for each, other in zip(x, y, strict=True)]

    def program(p: Party):
        setup(p, squared, *both)
        with p.ledger.at(Place("offline", "all")):
            begun = elementwise.square_sum_begin(p, squared, count * a[0])
            sums = elementwise.square_sum_offline(p, NUM, count * a[0], begun)
            made = elementwise.multiply_finish(p, NUM, rows, elementwise.multiply_begin(p, rows, *both))
        owns = pieces(sums, count), pieces(made, count)
        if not p.pricing:
            assert len({each.r.tobytes() for each in owns[0]}) == count
            assert len({each.u.tobytes() + each.v.tobytes() for each in owns[1]}) == count
        turns = zip(halves, *owns, strict=True)
        with p.ledger.at(Place("online", "all")):
            return [
                (
                    elementwise.square_sum(p, of(p, NUM, one), own),
                    elementwise.multiply(p, of(p, NUM, one), of(p, NUM, two), piece),
                )
                for (one, two), own, piece in turns
            ]

    for server, client, left, right in zip(*run(program), x, y, strict=True):
        assert error(server[0], client[0], (left * left).sum(axis=-1)) <= 2 * 2**squared.spare
        assert error(server[1], client[1], left * right) <= 2 * 2 ** both[0].spare


@pytest.mark.parametrize(("a", "w", "b"), [((5, 9), (1, 9), 4), ((5, 9), (5, 1), 2), ((6, 4), (6, 4), 8)])
def test_scaled(a, w, b):
    x, weight = rng.integers(-300, 300, a), rng.integers(-128, 128, w)
    rows = Rows(a, w)
    product, halves = planned(numbers_at_server(rows.groups, rows.length, b), norm_bits=8), split(NUM, x)

    def program(p: Party):
        setup(p, product)
        with p.ledger.at(Place("offline", "scaled")):
            made = elementwise.scaled_finish(p, rows, elementwise.scaled_begin(p, product, weight))
        with p.ledger.at(Place("online", "scaled")):
            return elementwise.scaled(p, of(p, NUM, halves), rows, 3, weight, made)

    server, client = run(program)
    assert server.num == Fixed(NUM.bits, NUM.scale + 3)
    assert error(server, client, x * weight) <= 2**product.spare
