"""The search for a tile: bytes against seconds, and what counts as equal."""

from __future__ import annotations

import pytest

from ppc.runtime.cost.rates import he_seconds
from ppc.runtime.he.params import DEEP_SETS, PACKING_SETS, PARAMETER_SETS
from ppc.runtime.he.product import Product, answer_bytes, uniform_norm_bits, upload_bytes
from ppc.runtime.he.tiling import TOSS, LeastBytes, _fills, _tiles, plan_product

SETS = (*PARAMETER_SETS, *PACKING_SETS, *DEEP_SETS)


def wire(product: Product) -> int:
    return upload_bytes(product) + answer_bytes(product)


def test_wire_price_shifts_the_choice():
    cheap = plan_product(1, 32, 384, 384, 30, he_seconds, norm_bits=14, byte_price=1e-11)
    dear = plan_product(1, 32, 384, 384, 30, he_seconds, norm_bits=14, byte_price=1e-6)
    assert wire(dear) <= wire(cheap)
    assert he_seconds(dear) >= he_seconds(cheap)


@pytest.mark.parametrize(("margin", "decides"), [(TOSS / 2, "bytes"), (TOSS * 2, "seconds")])
def test_of_what_costs_the_same_the_fewest_bytes_are_taken(margin, decides):
    """A tile that is so much faster than all others, where bytes cost nothing."""
    fast = plan_product(1, 32, 384, 384, 30, he_seconds, norm_bits=14, byte_price=1e-11)
    least = plan_product(1, 32, 384, 384, 30, lambda product: 0.0, norm_bits=14, byte_price=1e-6)
    assert wire(least) < wire(fast)

    def seconds(product: Product) -> float:
        return 1.0 if product == fast else 1.0 + margin

    found = plan_product(1, 32, 384, 384, 30, seconds, norm_bits=14, byte_price=1e-15)
    assert wire(found) == (wire(least) if decides == "bytes" else wire(fast))


@pytest.mark.parametrize(
    ("batch", "m", "k", "n", "ell", "spare"),
    [
        (1, 32, 384, 384, 30, 12),
        (1, 1, 576, 1536, 36, 20),
        (12, 32, 32, 32, 22, 3),
        (1, 128, 768, 3072, 33, 1),
        (7, 1, 3, 100, 40, 30),
        (1, 16, 5000, 24, 12, 2),
    ],
)
def test_no_tile_takes_fewer_bytes_than_the_search_expects(batch, m, k, n, ell, spare):
    norm_bits, seen, near = uniform_norm_bits(ell, k), 0, 0.0
    for params in SETS:
        least = LeastBytes(params, batch, m, k, n, ell, norm_bits, spare)
        for tile in _tiles(m, k, n, params.degree, params.pack_levels > 0):
            for fill in _fills(tile, n, params):
                try:
                    product = Product(batch, m, k, n, ell, norm_bits, spare, tile, params, fill)
                except ValueError:
                    continue
                assert least(tile, fill) <= wire(product)
                seen, near = seen + 1, max(near, least(tile, fill) / wire(product))
    assert seen > 5
    assert near > 0.8  # what is expected of the best is not far from what it takes
