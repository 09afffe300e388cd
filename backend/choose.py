"""Choices that look at a whole plan: which HE products share parameter sets, and whether answers are packed.

Packing saves most of an answer's bytes, costs a key switch for each and switching keys for each
parameter set, so it pays for all products together or not at all.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cache

import msgspec

from ppc.runtime.he_params import PACKING_SETS, PARAMETER_SETS, HeParams
from ppc.runtime.he_product import (
    Product,
    answer_bytes,
    parameter_sets,
    plan_product,
    public_key_bytes,
    upload_bytes,
)
from ppc.runtime.ring import known
from ppc.runtime.steps import AnyStep, Linear, MatMul


def choose_products(steps: Sequence[AnyStep], byte_price: float) -> tuple[AnyStep, ...]:
    """The steps with the parameters and tiles that cost least together at ``byte_price`` seconds a byte."""
    products = [product for step in steps for product in step.products()]
    best = min(_offers(products, byte_price), key=lambda offer: _price(offer, byte_price))
    chosen = iter(best)
    return tuple(_replaced(step, chosen) for step in steps)


def _replaced(step: AnyStep, chosen: Iterator[Product]) -> AnyStep:
    match step:
        case Linear():
            return msgspec.structs.replace(step, product=next(chosen))
        case MatMul():
            return msgspec.structs.replace(step, left=next(chosen), right=next(chosen))
    return step


def _offers(products: Sequence[Product], byte_price: float) -> Iterator[list[Product]]:
    """Every product at its cheapest: without packing, then with each packing set as one more to choose."""
    plain = [_cheapest(p, PARAMETER_SETS, byte_price) for p in products]
    yield [known(p) for p in plain]
    for packing in PACKING_SETS:
        packed = [_cheapest(p, (packing,), byte_price) for p in products]
        both = [[p for p in pair if p is not None] for pair in zip(plain, packed, strict=True)]
        yield [min(pair, key=lambda p: _price([p], byte_price)) for pair in both]


@cache
def _cheapest(product: Product, sets: tuple[HeParams, ...], byte_price: float) -> Product | None:
    """The same product with the best tile and parameters of ``sets``; None where none carries it."""
    try:
        return plan_product(
            product.batch,
            product.m,
            product.k,
            product.n,
            product.ell,
            norm_bits=product.norm_bits,
            byte_price=byte_price,
            params=sets,
        )
    except ValueError:
        return None


def _price(products: list[Product], byte_price: float) -> float:
    """Seconds of all products, their bytes and their keys."""
    wire = sum(upload_bytes(p) + answer_bytes(p) for p in products)
    keys = sum(public_key_bytes(params) for params in parameter_sets(products))
    return (wire + keys) * byte_price + sum(p.predicted_seconds for p in products)
