"""The search for a tile: bytes against seconds, and what counts as equal."""

from __future__ import annotations

import pytest

from ppc.runtime.cost.rates import he_seconds
from ppc.runtime.he.product import Product, answer_bytes, upload_bytes
from ppc.runtime.he.tiling import TOSS, plan_product


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
