"""Products of rows with numbers, and sums of squares: by OT or under HE, whichever costs less.

By OT an element costs bytes by the square of its ring's bits; under HE a coefficient or two, and work.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import lru_cache, partial

from ppc.backend.spare import LEAST
from ppc.runtime.base.ring import packed_size
from ppc.runtime.cost.rates import cot_seconds, he_seconds
from ppc.runtime.he.params import PACKING_SETS, PARAMETER_SETS
from ppc.runtime.he.product import MAX_BATCH, MAX_ELL, Product, answer_bytes, uniform_norm_bits, upload_bytes
from ppc.runtime.he.tiling import plan_product
from ppc.runtime.protocols.multiply import Rows
from ppc.runtime.protocols.row_products import Axes, numbers_at_client, numbers_at_server, rows_at_both

SETS = (*PARAMETER_SETS, *PACKING_SETS)

MOST_GROUPS = 128
"""Taken together; more meet in no polynomial."""

MOST_ENTRIES = 1 << 24
"""Of a right-hand matrix, most of which are zeros."""


@lru_cache(maxsize=256)
def square_sum(groups: int, length: int, ell: int, spare: int, byte_price: float) -> Product | None:
    """What makes Σ r^2 of ``groups`` rows under HE; None where OTs cost less."""
    norm_bits = uniform_norm_bits(ell, length)
    shape = partial(rows_at_both, groups, length)
    made = _best(shape, groups, ell, spare - 1, norm_bits, byte_price)
    by_ot = _by_ot(ell, ell, groups * length, 1, byte_price)
    return made if made is not None and price(made, byte_price) < by_ot else None


@lru_cache(maxsize=256)
def multiply(rows: Rows, ell: int, spare: int, byte_price: float) -> tuple[Product, Product] | None:
    """What makes the products of the masks of a and b under HE; None where OTs cost less."""
    groups, length = rows.groups, rows.length
    one, two = (
        _best(partial(shape, groups, length), groups, ell, spare - 1, ell - 1, byte_price)
        for shape in (numbers_at_server, numbers_at_client)
    )
    if one is None or two is None:
        return None
    by_ot = 2 * _by_ot(ell, ell, groups, length, byte_price)
    return (one, two) if price(one, byte_price) + price(two, byte_price) < by_ot else None


@lru_cache(maxsize=256)
def scaled(rows: Rows, ell: int, weight_bits: int, spare: int, byte_price: float) -> Product | None:
    """What makes the product of the client's mask and a weight under HE; None where OTs cost less."""
    groups, length = rows.groups, rows.length
    shape = partial(numbers_at_server, groups, length)
    made = _best(shape, groups, ell, spare, weight_bits - 1, byte_price)
    by_ot = _by_ot(ell, weight_bits, groups, length, byte_price)
    return made if made is not None and price(made, byte_price) < by_ot else None


def _best(
    axes: Callable[[int], Axes], groups: int, ell: int, spare: int, norm_bits: int, byte_price: float
) -> Product | None:
    """The cheapest number of groups at once; None where no parameters carry any."""
    if ell > MAX_ELL or spare < LEAST:
        return None
    found = []
    for b in _counts(groups):
        batch, m, k, n = axes(b)
        if batch > MAX_BATCH or batch * k * n > MOST_ENTRIES:
            continue
        try:
            made = plan_product(
                batch, m, k, n, ell, he_seconds,
                spare=spare, norm_bits=norm_bits, byte_price=byte_price, params=SETS,
            )  # fmt: skip
        except ValueError:
            continue
        found.append(made)
    return min(found, key=lambda each: price(each, byte_price), default=None)


def _counts(groups: int) -> Iterator[int]:
    b = 1
    while b <= min(groups, MOST_GROUPS):
        yield b
        b *= 2


def price(product: Product, byte_price: float) -> float:
    return (upload_bytes(product) + answer_bytes(product)) * byte_price + he_seconds(product)


def _by_ot(bits: int, choices: int, groups: int, length: int, byte_price: float) -> float:
    """Seconds of products by `gilboa`: its messages, and the correlated OTs that it takes."""
    sent = sum(packed_size(groups * length, bits - i) for i in range(choices))
    return sent * byte_price + groups * choices * cot_seconds()
