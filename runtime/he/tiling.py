"""The search for the parameters and the tile that make a product cheap."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from math import inf

from .noise import Meeting, answer_bits, most_drop, noise_bound, room, units
from .packing import Tile, tiles
from .params import PARAMETER_SETS, HeParams
from .product import Product, answer_bytes, said_bits, uniform_norm_bits, upload_bytes

TOSS = 0.02
"""Prices that differ by no more are equal: bytes are exact, but seconds measured, to some per cent."""


ROWS = 4
"""Numbers of rows a tile that are tried, the largest. Uploads have m·k·cols coefficients and answers
m·n·inner, whatever the rows: fewer of them only leave room for more columns and longer inner axes."""


@lru_cache(maxsize=1024)
def plan_product(
    batch: int,
    m: int,
    k: int,
    n: int,
    ell: int,
    seconds: Callable[[Product], float],
    *,
    spare: int = 1,
    norm_bits: int | None = None,
    value_bits: int | None = None,
    byte_price: float = 8e-8,
    params: tuple[HeParams, ...] = PARAMETER_SETS,
) -> Product:
    """The cheapest parameters and tile for a product; of those that are as good, the one of fewest bytes.

    Args:
        seconds: what a product's `Product.work` takes; `he_seconds` of `runtime.cost.rates` for all plans.
        spare: see `Product`; 1 is as exact as it can be.
        norm_bits: see `Product`; None bounds it for arbitrary entries of ``value_bits`` bits.
        value_bits: signed width of the server's entries, ``ell`` if None (uniform masks).
        byte_price: seconds that one byte on the wire costs (8e-8: 100 Mbit/s).
        params: the sets to choose from; restrict it to save keys, or give `PACKING_SETS` to pack answers.

    Raises ValueError, with the numbers, if no set carries the product.
    """
    if norm_bits is None:
        norm_bits = uniform_norm_bits(value_bits or ell, max(k, 1))
    carry = [each for each in params if could_carry(each, batch, m, k, n, ell, norm_bits, spare)]
    bounds = [LeastBytes(each, batch, m, k, n, ell, norm_bits, spare) for each in carry]
    trials = [
        (bound(tile, fill), bound.params, tile, fill)
        for bound in bounds
        for tile in _tiles(m, k, n, bound.params.degree, bound.params.pack_levels > 0)
        for fill in _fills(tile, n, bound.params)
    ]
    offers: list[tuple[float, int, int, Product]] = []
    least = inf
    refusal: ValueError | None = None
    for place in sorted(range(len(trials)), key=lambda each: trials[each][0]):
        bytes_at_least, chosen, tile, fill = trials[place]
        if bytes_at_least * byte_price > (1 + TOSS) * least:
            break
        try:
            product = Product(batch, m, k, n, ell, norm_bits, spare, tile, chosen, fill)
        except ValueError as fault:
            refusal = fault
            continue
        wire = upload_bytes(product) + answer_bytes(product)
        if wire * byte_price > (1 + TOSS) * least:
            continue
        price = wire * byte_price + seconds(product)
        least = min(least, price)
        offers.append((price, wire, place, product))
    if not offers and refusal is None:
        refusal = _refusal(batch, m, k, n, ell, norm_bits, spare, params)
    if not offers:
        raise refusal or ValueError("no parameter set was given to choose from")
    alike = [offer for offer in offers if offer[0] <= (1 + TOSS) * least]
    return min(alike, key=lambda offer: offer[1:3])[3]


class LeastBytes:
    """Bytes below which no product in one parameter set gets, told for a tile without its noise.

    Most bits of an upload are left out where one column meets and nothing is packed; an answer has fewest
    where nothing but its switch errs. Of ten tiles nine are dearer by that than one that was priced.
    """

    def __init__(
        self, params: HeParams, batch: int, m: int, k: int, n: int, ell: int, norm_bits: int, spare: int
    ):
        results, left = max(1, batch * m * n), room(spare)
        meeting = Meeting(2.0**norm_bits, max(k, 1), results)
        drop = most_drop(params, ell, meeting, left / 2 / units(params, ell, 1.0))
        pairs = [answer_bits(params, ell, left, results, kept) or (0, 0) for kept in (0.0, 1e9)]
        self.params = params
        self._batch, self._m, self._k, self._n = batch, m, k, n
        self._masked_bits, self._free_bits = said_bits(params.q, ell, drop)
        self._turned_bits, self._results = pairs[0][0], results * pairs[1][1]

    def __call__(self, tile: Tile, fill: int) -> float:
        degree, masked = self.params.degree, tile.rows * tile.inner
        down = self._batch * tiles(self._m, tile.rows)
        uploads = down * tiles(self._k, tile.inner)
        answers = down * tiles(tiles(self._n, tile.cols), fill)
        upload = uploads * (masked * self._masked_bits + (degree - masked) * self._free_bits)
        return (upload + answers * degree * self._turned_bits + self._results) / 8


def could_carry(
    params: HeParams, batch: int, m: int, k: int, n: int, ell: int, norm_bits: int, spare: int
) -> bool:
    """Whether a set can carry the product in some tile, as far as the noise of its uploads says."""
    meeting = Meeting(2.0 ** min(norm_bits, 64), max(k, 1), max(1, batch * m * n))
    return units(params, ell, noise_bound(params, ell, meeting)) < room(spare)


def _refusal(
    batch: int, m: int, k: int, n: int, ell: int, norm_bits: int, spare: int, params: tuple[HeParams, ...]
) -> ValueError | None:
    """Why the widest set does not carry the product."""
    if not params:
        return None
    try:
        widest = max(params, key=lambda each: each.q)
        Product(batch, m, k, n, ell, norm_bits, spare, Tile(1, 1, 1), widest)
    except ValueError as fault:
        return fault
    return None


@lru_cache(maxsize=256)
def _tiles(m: int, k: int, n: int, degree: int, packing: bool) -> tuple[Tile, ...]:
    """Tiles worth pricing: for each width, the longest inner axis that fits, evened out."""
    m, k, n = max(m, 1), max(k, 1), max(n, 1)  # empty axes are for `Product` to refuse
    found = []
    for rows in _widths(m, degree)[-ROWS:]:
        for cols in _widths(n, degree // rows):
            room = min(k, degree // (rows * cols))
            even = tiles(k, tiles(k, room))
            found.append(Tile(rows, even, cols))
            if packing and (power := 1 << (room.bit_length() - 1)) != even:
                found.append(Tile(rows, power, cols))
    return tuple(found)


def _fills(tile: Tile, n: int, params: HeParams) -> list[int]:
    """Numbers of answers worth packing: none, or as many as the tile's inner axis allows."""
    inner = tile.inner
    if inner == 1 or inner & (inner - 1) or inner.bit_length() - 1 > params.pack_levels:
        return [1]
    enough = 1 << (tiles(n, tile.cols) - 1).bit_length()
    return [1, min(inner, enough)] if enough > 1 else [1]


def _widths(length: int, limit: int) -> list[int]:
    """Widths that cut ``length`` evenly into 1, 2, 3, 4, 6, 8, 12, … parts, none above ``limit``."""
    counts = {c << i for i in range(length.bit_length()) for c in (1, 3) if c << i <= length} | {length}
    return sorted({tiles(length, count) for count in counts if tiles(length, count) <= limit})
