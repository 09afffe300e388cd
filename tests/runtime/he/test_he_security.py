"""What the holder of the key can see of an answer; each check fails without its protection.

The client reads both polynomials of an answer. c1 must be hidden by the fresh encryption of zero, and the
noise of c0 + c1·s by flooding; both are examined modulo q, before switching.
"""

from dataclasses import replace
from math import log2, prod

import numpy as np
import pytest
import scipy
from packed import pack_left

from ppc.runtime.base.prg import Prg
from ppc.runtime.cost.rates import he_seconds
from ppc.runtime.he import bfv as he
from ppc.runtime.he import cipher as he_cipher
from ppc.runtime.he.bfv import HeClient, HeServer
from ppc.runtime.he.cipher import basis
from ppc.runtime.he.packing import Tile
from ppc.runtime.he.params import PARAMETER_SETS, noise_bound
from ppc.runtime.he.product import Product
from ppc.runtime.he.tiling import plan_product

pytestmark = pytest.mark.long

PARAMS = PARAMETER_SETS[3]
PRODUCT = Product(1, 32, 64, 16, 28, 13, Tile(32, 16, 8), PARAMS)
MASKS = Product(1, 16, 32, 32, 24, 26, Tile(16, 32, 8), PARAMETER_SETS[5])
WORDS = he.words


@pytest.fixture(scope="module")
def ends():
    client = HeClient([PARAMS, MASKS.params])
    return client, HeServer([PARAMS, MASKS.params], client.public_keys())


def inputs(product):
    """V and S."""
    prg, ell = Prg(), product.ell
    v = prg.ring(10, (1, product.k, product.n)).astype(np.int64) - 512
    return v, prg.ring(ell, (1, product.m, product.n))


def uploaded(client, product):
    """U and the whole upload."""
    u, parts = client.upload(product)
    return u, list(parts)


def unswitched(product, server, up, v, s):
    """The deterministic sums and the protected ciphertexts of the first group, canonical."""
    ((sums, mask),) = server._sums(product, up, v, s)
    full = server._rerandomised(product, sums, 0, mask[0])
    primes = np.array(product.params.primes, np.int64)[:, None]
    return sums, (full.astype(np.int64) % primes).astype(np.uint64)


def coefficients(product, sums, c):
    """Polynomial c of the deterministic sums, canonical: (column tiles, primes, N)."""
    x = sums[:, 0, :, 0, c].reshape(len(product.params.data_bits), product.params.degree, 8)
    primes = np.array(product.params.primes)[:, None]
    rows = (x.transpose(2, 0, 1).astype(np.int64) % primes).astype(np.uint64)
    return basis(product.params).transform(np.ascontiguousarray(rows), inverse=True)


def looks_uniform(product, residues):
    """Residues (..., primes, N) spread evenly over their moduli."""
    share = residues / np.array(product.params.primes)[:, None]
    counts = np.histogram(share, bins=64, range=(0, 1))[0]
    return scipy.stats.chisquare(counts).pvalue > 1e-9


def noise_of(client, product, full, want):
    """c0 + c1·s - q/t·m modulo q at the results of row tile 0, as centred integers: (tiles, slots)."""
    params, key = product.params, client._keys[product.params]
    primes = [int(p) for p in params.primes]
    q = int(np.prod(np.array(primes, object)))
    he_basis, positions = basis(params), product.tile.positions()
    secret = key.ntt.astype(np.int64).astype(object)
    t, out = 1 << product.ell, []
    for lane in range(min(8, product.col_tiles)):
        c0, c1 = full[lane]
        ntt = he_basis.transform(np.ascontiguousarray(c1[None]))[0].astype(object)
        rows = np.stack([(ntt[i] * secret[i]) % p for i, p in enumerate(primes)]).astype(np.uint64)
        product_c1 = he_basis.transform(rows[None], inverse=True)[0]
        phase = np.zeros(len(positions), object)
        for i, p in enumerate(primes):
            part = (c0[i].astype(object) + product_c1[i].astype(object))[positions] % p
            phase += part * pow(q // p, -1, p) * (q // p)
        cols = slice(lane * product.tile.cols, (lane + 1) * product.tile.cols)
        scaled = (phase * t - want[: product.tile.rows, cols].ravel().astype(object) * q) % (q * t)
        out.append([(int(x) - q * t if x > q * t // 2 else int(x)) / t for x in scaled])
    return np.array(out)


def result(product, u, v, s):
    return (u[0] @ v[0].astype(np.int64).view(np.uint64) - s[0]) & np.uint64((1 << product.ell) - 1)


def without_flood(product):
    """Words for which every flooding term is 0 and all else stays random."""

    def words(prg, *shape):
        made = WORDS(prg, *shape)
        if shape[-1] == 2 and len(shape) == 3:
            flood = 1 << product.flood_bits
            made[..., 0], made[..., 1] = flood & (2**64 - 1), flood >> 64
        return made

    return words


def without_zero(prg, *shape):
    """Words for which the ternary u of the encryption of zero is 0."""
    made = WORDS(prg, *shape)
    if shape[1:2] == (3,):
        made[:, 0] = 1 << 63
    return made


# -- c1: re-randomisation


def c1_is_hidden(ends, product=PRODUCT):
    client, server = ends
    v, s = inputs(product)
    _, up = uploaded(client, product)
    sums, first = unswitched(product, server, up, v, s)
    _, second = unswitched(product, server, up, v, s)
    primes = np.array(product.params.primes, np.uint64)[:, None]
    plain = coefficients(product, sums, 1)
    tiles = product.col_tiles
    added = (first[:tiles, 1] + primes - plain[:tiles]) % primes
    between = (first[:tiles, 1] + primes - second[:tiles, 1]) % primes
    return looks_uniform(product, added) and looks_uniform(product, between)


def test_c1_is_the_sum_plus_something_fresh_and_uniform(ends):
    assert c1_is_hidden(ends)


def test_without_the_encryption_of_zero_c1_would_show(ends, monkeypatch):
    monkeypatch.setattr(he, "words", without_zero)
    assert not c1_is_hidden(ends)


def errors_hide_u(ends):
    """With its error e2, (c1 - sum)/a is not the small u."""
    client, server = ends
    v, s = inputs(PRODUCT)
    sums, full = unswitched(PRODUCT, server, uploaded(client, PRODUCT)[1], v, s)
    p = PARAMS.primes[0]
    added = (full[0, 1].astype(object) - coefficients(PRODUCT, sums, 1)[0].astype(object)) % p
    ntt = basis(PARAMS).transform(np.stack([added[0], added[0] * 0]).astype(np.uint64)[None])[0, 0]
    a = server._keys[PARAMS][1, 0].astype(np.int64)
    ratio = [int(x) * pow(int(y), -1, p) % p for x, y in zip(ntt, a, strict=True)]
    rows = np.array([ratio, [0] * len(ratio)], np.uint64)
    small = basis(PARAMS).transform(rows[None], inverse=True)[0, 0]
    return np.mean((small > 1) & (small < p - 1)) > 0.9


def without_errors(prg, *shape):
    made = WORDS(prg, *shape)
    if shape[1:2] == (3,):
        made[:, 1:] = 0
    return made


def test_the_encryption_of_zero_carries_errors(ends):
    assert errors_hide_u(ends)


def test_without_its_errors_the_encryption_of_zero_would_show(ends, monkeypatch):
    monkeypatch.setattr(he, "words", without_errors)
    assert not errors_hide_u(ends)


def test_equal_uploads_and_weights_give_unrelated_answers(ends):
    client, server = ends
    v, s = inputs(PRODUCT)
    _, up = uploaded(client, PRODUCT)
    (first,), (second,) = (list(server.answer(PRODUCT, up, v, s)) for _ in range(2))
    assert np.array_equal(client.finish(PRODUCT, [first]), client.finish(PRODUCT, [second]))
    a, b = (np.unpackbits(np.frombuffer(x, np.uint8)) for x in (first, second))
    assert abs(np.mean(a != b) - 0.5) < 0.01


# -- c0 + c1·s: flooding


def measured(ends, product=PRODUCT, v=None):
    client, server = ends
    drawn, s = inputs(product)
    v = drawn if v is None else v
    u, up = uploaded(client, product)
    _, full = unswitched(product, server, up, v, s)
    return noise_of(client, product, full, result(product, u, v, s)).ravel()


def is_flooded(product, noise):
    share = noise / 2.0**product.flood_bits
    inside = np.abs(noise).max() <= 2.0**product.flood_bits + 2.0**product.noise_bits
    large = np.median(np.abs(noise)) >= 2.0 ** (product.flood_bits - 3)
    return inside and large and scipy.stats.kstest(share, "uniform", args=(-1, 2)).pvalue > 1e-9


def test_the_client_sees_the_flooding_and_not_the_noise(ends):
    assert is_flooded(PRODUCT, measured(ends))


def test_without_flooding_the_noise_would_show(ends, monkeypatch):
    monkeypatch.setattr(he, "words", without_flood(PRODUCT))
    assert not is_flooded(PRODUCT, measured(ends))


def test_the_noise_does_not_depend_on_the_weights(ends):
    none = measured(ends, v=np.zeros((1, 64, 16), np.int64))
    loud = measured(ends, v=np.full((1, 64, 16), 1 << 10))
    assert scipy.stats.ks_2samp(none, loud).pvalue > 1e-9


def test_without_flooding_the_noise_would_depend_on_the_weights(ends, monkeypatch):
    monkeypatch.setattr(he, "words", without_flood(PRODUCT))
    none = measured(ends, v=np.zeros((1, 64, 16), np.int64))
    loud = measured(ends, v=np.full((1, 64, 16), 1 << 10))
    assert scipy.stats.ks_2samp(none, loud).pvalue < 1e-9


@pytest.mark.parametrize("product", [PRODUCT, MASKS, None], ids=["by hand", "masks", "planned"])
def test_flooding_is_forty_bits_above_the_bound(product):
    product = product or plan_product(12, 32, 32, 32, 40, he_seconds)
    meets = product.tile.cols
    norm = 2.0**product.norm_bits * meets**0.5
    results = product.batch * product.m * product.n
    bound = noise_bound(product.params, product.ell, norm, meets * product.k, results, product.drop)
    assert product.flood_bits - log2(bound) >= 40
    assert product.flood_bits <= product.budget_bits


# -- the bound holds


def test_the_computations_noise_stays_below_its_bound(ends, monkeypatch):
    monkeypatch.setattr(he, "words", without_flood(PRODUCT))
    noise = measured(ends, v=np.full((1, 64, 16), 1 << 10))  # columns of norm 2^13, as announced
    worst = np.abs(noise).max()
    assert worst <= 2.0**PRODUCT.noise_bits
    assert worst >= 2.0 ** (PRODUCT.noise_bits - 5)  # and the bound is not idle


def test_the_noise_of_products_with_masks_stays_below_its_bound(ends, monkeypatch):
    product = MASKS
    monkeypatch.setattr(he, "words", without_flood(product))
    client, server = ends
    prg, ell = Prg(), product.ell
    v, s = (prg.ring(ell, shape) for shape in ((1, 32, 32), (1, 16, 32)))
    u, up = uploaded(client, product)
    _, full = unswitched(product, server, up, v, s)
    noise = noise_of(client, product, full, result(product, u, v, s))
    assert 2.0 ** (product.noise_bits - 8) <= np.abs(noise).max() <= 2.0**product.noise_bits


def test_fresh_noise_is_seals_centred_binomial(ends):
    """Encryptions of zero, decrypted: variance 10.5, never above 21."""
    client, _ = ends
    key = client._keys[PARAMS]
    data = b"".join(key.encrypt_zero(8, Prg()))
    cipher = he_cipher.read_ciphertexts(PARAMS, data, 8)
    p = PARAMS.primes[0]
    c0, c1 = (cipher[:, c, 0].astype(np.int64).astype(object) for c in (0, 1))
    phase = (c0 + c1 * key.ntt[0].astype(np.int64).astype(object)) % p
    rows = np.zeros((8, 2, PARAMS.degree), np.uint64)
    rows[:, 0] = phase.astype(np.uint64)
    error = basis(PARAMS).transform(rows, inverse=True)[:, 0].astype(np.int64)
    error = np.where(error > p // 2, error - p, error)
    assert np.abs(error).max() <= 21
    assert abs(error.mean()) < 0.1
    assert abs(error.var() - 10.5) < 0.5


# -- uploads and shares


def test_every_part_of_every_upload_has_a_fresh_seed(ends):
    client, _ = ends
    product = Product(1, 4, 1500, 3, 16, 20, Tile(4, 8, 3), PARAMS)
    parts = [*uploaded(client, product)[1], *uploaded(client, product)[1]]
    assert len({part[:16] for part in parts}) == len(parts)
    assert len({part[16:80] for part in parts}) == len(parts)
    assert client.public_key(PARAMS)[:16] != client.public_key(PARAMS)[:16]


def test_uploads_look_uniform(ends):
    client, _ = ends
    u, (part, *_) = uploaded(client, PRODUCT)
    for found, among in ((np.frombuffer(part, np.uint8), 256), ((u >> np.uint64(20)).ravel(), 256)):
        counts = np.bincount(found.astype(np.int64), minlength=among)
        assert scipy.stats.chisquare(counts).pvalue > 1e-9


def test_masks_are_unrelated_to_the_seeded_offsets(ends):
    """U = h - k: without y's own high part k, the public seed would give the mask away."""
    client, _ = ends
    u, (part, *_) = uploaded(client, PRODUCT)
    public = Prg(part[:16])
    he_cipher.mask_words(PARAMS, public, 4)
    h = public.ring(PRODUCT.ell, (4, PARAMS.degree))[:, PRODUCT.tile.free(PARAMS.degree) == 1]
    first = u[0, :, :16].ravel()  # the first inner tile
    difference = (h[0] - first) & np.uint64(2**PRODUCT.ell - 1)
    counts = np.bincount((difference >> np.uint64(24)).astype(np.int64), minlength=16)
    assert scipy.stats.chisquare(counts).pvalue > 1e-9
    assert len(np.unique(difference)) == len(difference)


def test_an_uploads_error_is_fresh_noise_and_the_dropped_bits(ends):
    client, _ = ends
    product = replace(PRODUCT, norm_bits=6)
    u, (part, *_) = uploaded(client, product)
    cipher = he.read_upload(product, slice(0, 4), part)
    key = client._keys[PARAMS].ntt.astype(np.int64).astype(object)
    primes, q = PARAMS.primes, prod(PARAMS.primes)
    half = q * 2 ** (product.ell - 1)
    rows = np.zeros((4, 2, PARAMS.degree), np.uint64)
    for i, p in enumerate(primes):
        c0, c1 = (cipher[:, c, i].astype(np.int64).astype(object) for c in (0, 1))
        rows[:, i] = ((c0 + c1 * key[i]) % p).astype(np.uint64)
    back = basis(PARAMS).transform(rows, inverse=True).astype(object)
    phase = sum(back[:, i] * pow(q // p, -1, p) * (q // p) for i, p in enumerate(primes)) % q
    plain = pack_left(u[0], product.tile, PARAMS.degree).reshape(4, -1).astype(object)
    error = (phase * 2**product.ell - plain * q) % (2 * half)
    error = np.where(error > half, error - 2 * half, error) / 2.0**product.ell
    assert product.drop > 8
    assert np.abs(error).max() <= 21 + 2 ** (product.drop - 1) + 2
    assert error.astype(float).std() == pytest.approx(2**product.drop / 12**0.5, rel=0.05)


def test_the_clients_share_is_uniform_whatever_the_weights(ends):
    client, server = ends
    _, s = inputs(PRODUCT)
    v = np.zeros((1, 64, 16), np.int64)
    share = client.finish(PRODUCT, server.answer(PRODUCT, uploaded(client, PRODUCT)[1], v, s))
    counts = np.bincount((share.ravel() >> np.uint64(24)).astype(int), minlength=16)
    assert scipy.stats.chisquare(counts).pvalue > 1e-9
    assert (share + s & np.uint64((1 << 28) - 1) == 0).all()


def test_nothing_secret_is_printed(ends):
    client, server = ends
    for thing in (client, server, client._keys[PARAMS]):
        text = repr(thing)
        assert len(text) < 200
        assert "array" not in text
    assert "<secret>" in repr(client)
    assert "<secret>" in repr(client._keys[PARAMS])
