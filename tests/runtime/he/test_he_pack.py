"""Packed answers: the same results, fewer bytes, noise within its bound."""

import dataclasses

import numpy as np
import pytest

from ppc.runtime.base.prg import Prg
from ppc.runtime.cost.rates import he_seconds
from ppc.runtime.he import bfv as he
from ppc.runtime.he.cipher import basis, kept_basis
from ppc.runtime.he.packing import Tile
from ppc.runtime.he.params import PACKING_SETS, PARAMETER_SETS, packing_noise
from ppc.runtime.he.product import Product, answer_bytes, answer_parts, public_key_bytes, upload_bytes
from ppc.runtime.he.tiling import plan_product

PARAMS = dataclasses.replace(PARAMETER_SETS[3], pack_levels=4)


def check(product, ends, bits=6):
    client, server = ends(product.params)
    prg, ell, b = Prg(), product.ell, product.batch
    u, up = client.upload(product)
    up = list(up)
    s = prg.ring(ell, (b, product.m, product.n))
    v = prg.ring(bits, (b, product.k, product.n)).astype(np.int64) - (1 << (bits - 1))
    want = u @ v.view(np.uint64) - s
    down = list(server.answer(product, up, v, s))
    assert [len(part) for part in down] == answer_parts(product)
    assert np.array_equal(client.finish(product, down), want & np.uint64((1 << ell) - 1))


@pytest.mark.long
@pytest.mark.parametrize(
    ("tile", "fill"),
    [(Tile(8, 16, 8), 16), (Tile(8, 16, 8), 4), (Tile(5, 16, 3), 8), (Tile(3, 2, 9), 2), (Tile(16, 8, 2), 8)],
    ids=str,
)
@pytest.mark.parametrize("n", [3, 50, 300])
def test_packed_products(tile, fill, n, ends):
    check(Product(2, 11, 37, n, 24, 12, tile, PARAMS, fill), ends)


@pytest.mark.parametrize("params", PACKING_SETS[2:], ids=str)
def test_every_set_packs(params, ends):
    params = dataclasses.replace(params, pack_levels=3)
    check(Product(1, 16, 16, 40, 14, 17, Tile(8, 8, 4), params, 8), ends)


def test_packing_at_full_stride_and_a_wide_ring(ends):
    params = dataclasses.replace(PARAMETER_SETS[3], pack_levels=7)
    check(Product(1, 2, 128, 140, 28, 12, Tile(2, 128, 1), params, 128), ends)


def test_more_packing_than_the_kept_primes_carry_is_refused():
    params = dataclasses.replace(PARAMETER_SETS[3], pack_levels=7)
    with pytest.raises(ValueError, match="and 128 packed: noise of"):
        Product(1, 2, 128, 140, 31, 12, Tile(2, 128, 1), params, 128)


@pytest.mark.long
def test_packing_saves_bytes():
    plain = plan_product(1, 32, 384, 1152, 30, he_seconds, norm_bits=13)
    packed = plan_product(1, 32, 384, 1152, 30, he_seconds, norm_bits=13, params=PACKING_SETS)
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
    size = 4096 * 93 // 8
    assert public_key_bytes(PARAMS) == 16 + size + 16 + 4 * 2 * size
    assert len(client.public_key(PARAMS)) == public_key_bytes(PARAMS)
    first, second = (client.public_key(PARAMS) for _ in range(2))
    a, b = (np.unpackbits(np.frombuffer(x, np.uint8)) for x in (first, second))
    assert abs(np.mean(a != b) - 0.5) < 0.01


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"fill": 3}, "cannot be packed"),
        ({"fill": 32}, "cannot be packed"),
        ({"fill": 0}, "cannot be packed"),
        ({"tile": Tile(8, 12, 8)}, "cannot be packed"),
        ({"tile": Tile(8, 32, 8)}, "no keys"),
        ({"params": PARAMETER_SETS[3]}, "no keys"),
    ],
)
def test_a_product_that_cannot_be_packed_is_refused(change, match):
    good = Product(1, 8, 32, 64, 24, 12, Tile(8, 16, 8), PARAMS, 4)
    with pytest.raises(ValueError, match=match):
        dataclasses.replace(good, **change)


def packed_noise(ends, product, server_words=None):
    """Noise of packed answers before the last switch, in units of q', with the flooding known."""
    client, server = ends(product.params)
    v, s = np.zeros((1, product.k, product.n), np.int64), np.zeros((1, product.m, product.n), np.uint64)
    ((sums, mask),) = server._sums(product, client.upload(product)[1], v, s)
    params, fill = product.params, product.fill
    full = np.concatenate([server._rerandomised(product, sums, g, mask[g]) for g in range(fill // 8)])
    packed = basis(params).interleave(
        full[None], product.tile.inner, params.gadget[1], server._pack_keys[params]
    )
    p, key = params.kept[0], client._keys[params].ntt[0].astype(np.int64).astype(object)
    kept = kept_basis(params)
    packed = (packed.astype(np.int64) % np.array(params.kept)[:, None]).astype(np.uint64)
    c1 = kept.transform(np.ascontiguousarray(packed[:, 1]))[0, 0].astype(object)
    low = kept.transform(((c1 * key) % p).astype(np.uint64)[None, None], inverse=True)[0, 0]
    phase = (packed[0, 0, 0].astype(object) + low.astype(object)) % p
    return np.array([x - p if x > p // 2 else x for x in phase[product.positions()]], np.float64)


def test_the_noise_of_packing_stays_below_its_bound(ends, monkeypatch):
    """All messages are 0 and the flooding is 0, so that what is left is noise."""
    product = Product(1, 16, 16, 256, 24, 12, Tile(16, 16, 16), PARAMS, 16)
    words = he.words

    def quiet(prg, *shape):
        made = words(prg, *shape)
        if shape[-1] == 2 and len(shape) == 3:
            flood = 1 << product.flood_bits
            made[..., 0], made[..., 1] = flood & (2**64 - 1), flood >> 64
        return made

    monkeypatch.setattr(he, "words", quiet)
    worst = np.abs(packed_noise(ends, product)).max()
    bound = packing_noise(PARAMS, 16, 256)
    assert bound / 64 < worst <= bound


def test_packed_answers_are_still_flooded(ends):
    product = Product(1, 16, 16, 256, 24, 12, Tile(16, 16, 16), PARAMS, 16)
    noise = np.abs(packed_noise(ends, product))
    scale = 2.0**product.flood_bits / PARAMS.primes[-1]
    assert scale / 4 < np.median(noise) < scale


def test_bad_packing_is_refused():
    b, keys = basis(PARAMS), np.zeros((4, 2, 2, 2, 4096))
    good = np.zeros((1, 4, 2, 2, 4096))
    assert b.interleave(good, 16, 24, keys).shape == (1, 2, 1, 4096)
    for ciphertexts, stride, bits, match in [
        (good, 12, 24, "stride"),
        (good, 2, 24, "up to the stride"),
        (good[:, :3].copy(), 16, 24, "power of two"),
        (good, 32, 24, "too few keys"),
        (good, 16, 20, "do not cover"),
    ]:
        with pytest.raises(ValueError, match=match):
            b.interleave(ciphertexts, stride, bits, keys)
