"""Packed answers: the same results, fewer bytes, noise within its bound."""

import dataclasses

import numpy as np
import pytest
from he_ends import SEED, draw, noise_of, off, protected, uploaded

from ppc.runtime._he import Packing
from ppc.runtime.base.prg import Prg
from ppc.runtime.cost.rates import he_seconds
from ppc.runtime.he.cipher import basis, key_basis
from ppc.runtime.he.noise import packing_noise
from ppc.runtime.he.packing import Tile
from ppc.runtime.he.params import PACKING_SETS, HeParams
from ppc.runtime.he.product import Product, answer_bytes, answer_parts, public_key_bytes, upload_bytes
from ppc.runtime.he.tiling import plan_product

ONE = HeParams(4096, (48,))
PARAMS = HeParams(4096, (35, 34)).packing(4)


def check(product, ends, bits=6):
    client, server = ends(product.params)
    v, mask = draw(product, bits)
    u, up = uploaded(client, product)
    down = list(server.answer(product, up, v, mask))
    assert [len(part) for part in down] == answer_parts(product)
    assert np.abs(off(product, u, v, mask, client, down)).max() <= 2**product.spare


@pytest.mark.long
@pytest.mark.parametrize(
    ("tile", "fill"),
    [(Tile(8, 16, 8), 16), (Tile(8, 16, 8), 4), (Tile(5, 16, 3), 8), (Tile(3, 2, 9), 2), (Tile(16, 8, 2), 8)],
    ids=str,
)
@pytest.mark.parametrize("n", [3, 50, 300])
def test_packed_products(tile, fill, n, ends):
    check(Product(2, 11, 37, n, 24, 12, 2, tile, PARAMS, fill), ends)


@pytest.mark.parametrize("params", PACKING_SETS, ids=str)
def test_every_set_packs(params, ends):
    check(Product(1, 16, 16, 40, 14, 8, 4, Tile(8, 8, 4), params.packing(3), 8), ends)


def test_packing_at_full_stride_and_a_wide_ring(ends):
    check(Product(1, 2, 128, 140, 28, 12, 11, Tile(2, 128, 1), ONE.packing(7), 128), ends)
    check(Product(1, 2, 128, 140, 45, 12, 3, Tile(2, 128, 1), HeParams(8192, (46, 46)).packing(7), 128), ends)


def test_one_row_is_packed_densely(ends):
    """Uploaded in one ciphertext for each 2,048 numbers, and answered in one for 1,024 results."""
    product = Product(1, 1, 4000, 600, 28, 12, 14, Tile(1, 2048, 2), ONE.packing(11), 512)
    assert (product.upload_ciphertexts, product.answer_ciphertexts) == (2, 1)
    check(product, ends)


def test_more_packing_than_the_error_allows_is_refused():
    with pytest.raises(ValueError, match="and 128 packed: errors of"):
        Product(1, 2, 128, 140, 36, 12, 2, Tile(2, 128, 1), ONE.packing(7), 128)


@pytest.mark.long
def test_packing_saves_bytes():
    plain = plan_product(1, 32, 384, 1152, 30, he_seconds, spare=12, norm_bits=13)
    packed = plan_product(1, 32, 384, 1152, 30, he_seconds, spare=12, norm_bits=13, params=PACKING_SETS)
    assert packed.fill > 1
    total = upload_bytes(packed) + answer_bytes(packed)
    assert total < (upload_bytes(plain) + answer_bytes(plain)) / 2
    b = packed.answer_bits
    assert (
        answer_bytes(packed)
        == -(-packed.answer_ciphertexts * 4096 * b // 8) + 32 * 1152 * packed.result_bits // 8
    )


def test_the_public_key_carries_the_switching_keys(ends):
    client, _ = ends(PARAMS)
    assert public_key_bytes(PARAMS) == 4096 * 69 // 8 + 16 + 4 * 2 * 4096 * (69 + 35) // 8
    assert len(client._keys[PARAMS].public(SEED, Prg())) == public_key_bytes(PARAMS)


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"fill": 3}, "cannot be packed"),
        ({"fill": 32}, "cannot be packed"),
        ({"fill": 0}, "cannot be packed"),
        ({"tile": Tile(8, 12, 8)}, "cannot be packed"),
        ({"tile": Tile(8, 32, 8)}, "no keys"),
        ({"params": PARAMS.packing(0)}, "no keys"),
    ],
)
def test_a_product_that_cannot_be_packed_is_refused(change, match):
    good = Product(1, 8, 32, 64, 24, 12, 2, Tile(8, 16, 8), PARAMS, 4)
    with pytest.raises(ValueError, match=match):
        dataclasses.replace(good, **change)


@pytest.mark.long
@pytest.mark.parametrize("params", [PARAMS, ONE.packing(4)], ids=str)
def test_the_noise_of_packing_stays_below_its_bound(ends, params, monkeypatch):
    """Weights of 1 and less add next to nothing to it, where the upload is whole."""
    monkeypatch.setattr(Product, "drop", 0)
    product = Product(1, 16, 16, 256, 24, 12, 8, Tile(16, 16, 16), params, 16)
    client, server = ends(params)
    v, _ = draw(product, 1)
    u, up = uploaded(client, product)
    noise = noise_of(product, client, protected(server, product, up, v), u, v)
    bound = packing_noise(params, 16, 256)
    assert bound / 200 < np.abs(noise).max() <= bound


def test_bad_packing_is_refused():
    b, keys = key_basis(PARAMS), np.zeros((4, 2, 2, 3, 4096))
    good = np.zeros((2, 1, 256, 1, 2, 16, 8))
    assert Packing(b, 16).pack(good, 1, 4, keys).shape == (1, 2, 2, 4096)
    for acc, packs, fill, stride, match in [
        (good, 1, 4, 12, "stride"),
        (good, 1, 4, 2, "up to the stride"),
        (good, 1, 3, 16, "power of two"),
        (good, 1, 4, 32, "too few keys"),
        (good, 0, 4, 16, "at least one"),
        (good[:1].copy(), 1, 4, 16, "wrong shape"),
    ]:
        with pytest.raises(ValueError, match=match):
            Packing(b, stride).pack(acc, packs, fill, keys)
    with pytest.raises(ValueError, match="special prime"):
        Packing(basis(ONE), 16)
