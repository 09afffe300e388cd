"""Choices that look at a whole plan: which HE products share parameter sets, and whether answers are packed.

A parameter set costs its keys once, and one that packs answers switching keys besides, which are worth it if
enough products use them. So sets are taken in one by one while that pays for all products together. Keys for
the deepest packing are worth it where products have few rows, as in a decoder's step of one token.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import cache
from math import inf

import msgspec

from ppc.runtime.cost.rates import he_seconds
from ppc.runtime.he.params import DEEP_SETS, PACKING_SETS, PARAMETER_SETS, HeParams
from ppc.runtime.he.product import Product, answer_bytes, public_key_bytes, upload_bytes
from ppc.runtime.he.tiling import TOSS, plan_product
from ppc.runtime.net.network import Network
from ppc.runtime.plan.steps import AnyStep
from ppc.runtime.protocols.halves import FLIGHT

Sets = tuple[HeParams, ...]

SHALLOW: Sets = (*PARAMETER_SETS, *PACKING_SETS)


def worth(network: Network) -> int:
    """Bytes that a flight is worth over ``network``."""
    return min(FLIGHT, network.flight)


def choose_products(steps: Sequence[AnyStep], byte_price: float) -> tuple[AnyStep, ...]:
    """The steps with the parameters and tiles that cost least together at ``byte_price`` seconds a byte."""
    products = [product for step in steps for product in step.products()]
    sets = _choose_sets(Counter(products), byte_price)
    chosen = iter(_trimmed([_best(product, sets, byte_price)[1] for product in products]))
    return tuple(_replaced(step, chosen) for step in steps)


def _replaced(step: AnyStep, chosen: Iterator[Product]) -> AnyStep:
    """The step with other products in the order of `Step.products`."""
    held = [name for name in ("product", "left", "right") if getattr(step, name, None) is not None]
    return msgspec.structs.replace(step, **{name: next(chosen) for name in held}) if held else step


def _trimmed(products: Sequence[Product]) -> Iterator[Product]:
    """The same with switching keys for no more levels than are packed."""
    levels = {product.params: 0 for product in products}
    for product in products:
        if product.fill > 1:
            levels[product.params] = max(levels[product.params], product.tile.inner.bit_length() - 1)
    for product in products:
        yield replace(product, params=product.params.packing(levels[product.params]))


def _choose_sets(products: Counter[Product], byte_price: float) -> Sets:
    """Without the deepest packing, unless it pays by more than seconds are known."""
    (unmet, price), shallow = _taken_in(products, byte_price, SHALLOW)
    deep_price, deep = _taken_in(products, byte_price, (*SHALLOW, *DEEP_SETS))
    return deep if deep_price < (unmet, (1 - TOSS) * price) else shallow


def _taken_in(products: Counter[Product], byte_price: float, offered: Sets) -> tuple[tuple[int, float], Sets]:
    """One more set or one less, whichever saves most, until neither saves: their price, and the sets."""

    def price(sets: Sets) -> tuple[int, float]:  # products that no set carries count before seconds
        costs = [(_best(p, sets, byte_price)[0], count) for p, count in products.items()]
        keys = sum(public_key_bytes(params) for params in sets) * byte_price
        carried = sum(cost * count for cost, count in costs if cost < inf)
        return sum(cost == inf for cost, _ in costs), keys + carried

    sets: Sets = ()
    best = price(sets)
    while True:
        more = [_with(sets, params) for params in offered if params not in sets]
        less = [tuple(each for each in sets if each is not params) for params in sets]
        found = min((*more, *less), key=price)
        if price(found) >= best:
            return best, sets
        sets, best = found, price(found)


def _with(sets: Sets, params: HeParams) -> Sets:
    """One more, in the place of the one that has the same primes and packs over other levels."""
    others = (each for each in sets if (each.degree, each.chain) != (params.degree, params.chain))
    return (*others, params)


def _best(product: Product, sets: Sets, byte_price: float) -> tuple[float, Product]:
    """Seconds of the product, bytes included, with the set that suits it best; inf if none does."""
    offers = [_offer(product, params, byte_price) for params in sets]
    return min(offers, key=lambda offer: offer[0], default=(inf, product))


@cache
def _offer(product: Product, params: HeParams, byte_price: float) -> tuple[float, Product]:
    """The same product with the best tile in one parameter set."""
    try:
        made = remade(product, (params,), byte_price)
    except ValueError:
        return inf, product
    return (upload_bytes(made) + answer_bytes(made)) * byte_price + he_seconds(made), made


def remade(product: Product, sets: Sets, byte_price: float) -> Product:
    """The same product with the best tile and parameters of ``sets``; ValueError where none carries it."""
    return plan_product(
        product.batch,
        product.m,
        product.k,
        product.n,
        product.ell,
        he_seconds,
        spare=product.spare,
        norm_bits=product.norm_bits,
        byte_price=byte_price,
        params=sets,
    )
