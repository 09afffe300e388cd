"""Products under HE against integers, and against SEAL's own encryption and decryption."""

import numpy as np
import pytest
import seal
from packed import pack_left

from ppc.runtime.base.errors import RangeFault
from ppc.runtime.base.prg import Prg
from ppc.runtime.cost.rates import he_seconds
from ppc.runtime.he import bfv as he
from ppc.runtime.he.bfv import HeClient, HeServer
from ppc.runtime.he.cipher import SecretKey, read_upload
from ppc.runtime.he.packing import Tile
from ppc.runtime.he.params import PARAMETER_SETS, HeParams, context
from ppc.runtime.he.product import Product, answer_parts, upload_parts
from ppc.runtime.he.tiling import plan_product

NATIVE = PARAMETER_SETS[3]


def draw(product, value_bits=None):
    """V uniform or of value_bits bits, S uniform."""
    prg, ell = Prg(), product.ell
    b, k, m, n = product.batch, product.k, product.m, product.n
    if value_bits is None:
        v = prg.ring(ell, (b, k, n))
    else:
        v = prg.ring(value_bits, (b, k, n)).astype(np.int32) - (1 << (value_bits - 1))
    return v, prg.ring(ell, (b, m, n))


def uploaded(product, client):
    """U and the whole upload."""
    u, parts = client.upload(product)
    return u, list(parts)


def expected(product, u, v, s):
    return (u @ v.astype(np.int64).view(np.uint64) - s) & np.uint64((1 << product.ell) - 1)


def check(product, ends, value_bits=None):
    client, server = ends(product.params)
    v, s = draw(product, value_bits)
    u, up = uploaded(product, client)
    assert [len(part) for part in up] == upload_parts(product)
    down = list(server.answer(product, up, v, s))
    assert [len(part) for part in down] == answer_parts(product)
    assert np.array_equal(client.finish(product, down), expected(product, u, v, s))


@pytest.mark.parametrize("ell", [1, 8, 16, 17, 24, 26, 30, 32, 37, 40, 42])
def test_products_of_masks_in_every_ring(ell, ends):
    check(plan_product(2, 5, 13, 7, ell, he_seconds), ends)


@pytest.mark.parametrize("seed", range(12))
def test_products_of_any_shape(seed, ends):
    rng = np.random.default_rng(seed)
    batch, m, k, n = (int(x) for x in rng.integers(1, (4, 40, 150, 150)))
    price = float(rng.choice([1e-12, 8e-8, 1e-5]))
    product = plan_product(batch, m, k, n, 28, he_seconds, value_bits=11, byte_price=price, params=(NATIVE,))
    check(product, ends, 11)


@pytest.mark.long
@pytest.mark.parametrize(
    "tile", [Tile(1, 4, 1), Tile(3, 7, 2), Tile(40, 1, 50), Tile(1, 64, 64), Tile(20, 9, 9)]
)
def test_products_in_any_tile(tile, ends):
    check(Product(1, 21, 33, 40, 20, 24, tile, PARAMETER_SETS[5]), ends)


@pytest.mark.parametrize("params", PARAMETER_SETS, ids=str)
def test_every_parameter_set_carries_products(params, ends):
    ell = 8 if params.log_q < 80 else 12
    check(Product(1, 16, 64, 16, ell, ell + 1, Tile(16, 16, 16), params), ends, 4)


def test_many_inner_tiles_are_streamed(ends):
    product = Product(1, 4, 1500, 3, 16, 20, Tile(4, 8, 3), NATIVE)
    assert len(upload_parts(product)) > 4
    check(product, ends, 15)


def test_extreme_weights_stay_within_the_noise(ends):
    """All weights at the norm that the plan announces."""
    product = Product(1, 8, 64, 8, 28, 14, Tile(8, 64, 8), NATIVE)
    client, server = ends(product.params)
    v = np.full((1, 64, 8), -(1 << 11))
    s = np.zeros((1, 8, 8), np.uint64)
    u, up = uploaded(product, client)
    down = server.answer(product, up, v, s)
    assert np.array_equal(client.finish(product, down), expected(product, u, v, s))


# -- SEAL reads what we write, and the other way round


def seal_cipher(ctx, ntt, residues):
    keys = seal.KeyGenerator(ctx)
    encryptor = seal.Encryptor(ctx, keys.create_public_key(), keys.secret_key())
    model = encryptor.encrypt_symmetric(seal.Plaintext("1"))
    if ntt:
        seal.Evaluator(ctx).transform_to_ntt_inplace(model)
    made = seal.Ciphertext()
    made.load_bytes(ctx, model.to_string()[:113] + np.ascontiguousarray(residues).tobytes())
    return made


def canonical(params, x):
    primes = np.array(params.primes, np.int64)[:, None]
    return (x.astype(np.int64) % primes).astype(np.uint64)


def coefficients(plain, degree):
    out = np.zeros(degree, np.uint64)
    raw = np.frombuffer(plain.to_bytes(seal.compr_mode_type.none), np.uint64, offset=88)
    out[: len(raw)] = raw
    return out


def seal_session(params, ell):
    ctx = context(params, ell)
    secret = seal.KeyGenerator(ctx).secret_key()
    client = HeClient([])
    client.install(SecretKey(params, secret))
    return ctx, secret, client, HeServer([params], client.public_keys())


SEAL_SETS = [(NATIVE, 28), (PARAMETER_SETS[2], 16), (PARAMETER_SETS[8], 37)]


@pytest.mark.parametrize(("params", "ell"), SEAL_SETS, ids=str)
def test_seal_decrypts_our_uploads(params, ell):
    ctx, secret, client, _ = seal_session(params, ell)
    product = Product(1, 8, 32, 8, ell, 10, Tile(8, 32, 8), params)
    u, (part,) = uploaded(product, client)
    cipher = seal_cipher(ctx, True, canonical(params, read_upload(product, slice(0, 1), part)[0]))
    seal.Evaluator(ctx).transform_from_ntt_inplace(cipher)
    decryptor = seal.Decryptor(ctx, secret)
    # SEAL measures the noise below (q / 2t): ours is that of a fresh ciphertext, or of the bits not sent
    assert decryptor.invariant_noise_budget(cipher) >= int(params.log_q) - ell - max(7, product.drop + 2)
    plain = coefficients(decryptor.decrypt(cipher), params.degree)
    assert np.array_equal(plain, pack_left(u[0], product.tile, params.degree)[0, 0])


@pytest.mark.parametrize(("params", "ell"), SEAL_SETS, ids=str)
def test_seal_decrypts_our_answers_before_switching(params, ell):
    ctx, secret, client, server = seal_session(params, ell)
    product = Product(1, 8, 32, 24, ell, 10, Tile(8, 32, 8), params)
    v, s = draw(product, 6)
    u, up = uploaded(product, client)
    ((sums, mask),) = server._sums(product, up, v, s)
    full = server._rerandomised(product, sums, 0, mask[0])
    want = expected(product, u, v, s)[0].reshape(8, 3, 8)
    for lane in range(3):
        cipher = seal_cipher(ctx, False, canonical(params, full[lane]))
        decryptor = seal.Decryptor(ctx, secret)
        plain = coefficients(decryptor.decrypt(cipher), params.degree)
        assert np.array_equal(plain[product.tile.positions()].reshape(8, 8), want[:, lane])


def test_we_take_ciphertexts_made_by_seal(monkeypatch):
    params, ell = NATIVE, 28
    ctx, secret, client, server = seal_session(params, ell)
    product = Product(1, 8, 32, 24, ell, 10, Tile(8, 32, 8), params)
    v, s = draw(product, 6)
    u = Prg().ring(ell, (1, 8, 32))
    plain = seal.Plaintext(params.degree)
    poly = pack_left(u[0], product.tile, params.degree)[0, 0]
    template = seal.Plaintext("1x^" + format(params.degree - 1, "d")).to_bytes(seal.compr_mode_type.none)
    plain.load_bytes(ctx, template[:88] + poly.tobytes())
    keys = seal.KeyGenerator(ctx)
    cipher = seal.Encryptor(ctx, keys.create_public_key(), secret).encrypt_symmetric(plain)
    seal.Evaluator(ctx).transform_to_ntt_inplace(cipher)
    rows = np.frombuffer(cipher.to_string(), np.uint64, offset=113).reshape(1, 2, 2, params.degree)
    primes = np.array(params.primes, np.int64)[:, None]
    theirs = rows.astype(np.int64)
    theirs = np.where(theirs > primes // 2, theirs - primes, theirs).astype(np.float64)
    monkeypatch.setattr(he, "read_upload", lambda *_: theirs)
    down = server.answer(product, [b""], v, s)
    assert np.array_equal(client.finish(product, down), expected(product, u, v, s))


# -- what is refused


@pytest.fixture
def small(ends):
    product = Product(1, 3, 5, 7, 20, 12, Tile(3, 5, 7), NATIVE)
    return product, *ends(NATIVE), *draw(product, 8)


def test_weights_beyond_the_announced_norm_are_refused(small):
    product, client, server, v, s = small
    loud = v.copy()
    loud[0, 2, 3] = 1 << 13
    with pytest.raises(RangeFault, match=r"norm above 2\^12"):
        list(server.answer(product, uploaded(product, client)[1], loud, s))


def test_malformed_messages_are_refused(small):
    product, client, server, v, s = small
    _, (up,) = uploaded(product, client)
    for bad in (up[:-1], up + b"\0", b""):
        with pytest.raises(ValueError, match="bytes"):
            list(server.answer(product, [bad], v, s))
    with pytest.raises(ValueError, match="ends early"):
        list(server.answer(product, [], v, s))
    (down,) = server.answer(product, [up], v, s)
    with pytest.raises(ValueError, match="does not belong"):
        client.finish(product, [down[:-1]])
    with pytest.raises(ValueError, match="shorter"):
        client.finish(product, [])
    with pytest.raises(ValueError, match="public keys"):
        HeServer([NATIVE], client.public_keys() + b"\0")
    with pytest.raises(ValueError, match="not below its modulus"):
        HeServer([NATIVE], b"\xff" * len(client.public_keys()))


def test_wrong_shapes_are_refused(small):
    product, _, server, v, s = small
    with pytest.raises(ValueError, match="V must be"):
        list(server.answer(product, [], v.astype(float), s))
    with pytest.raises(ValueError, match="S must be"):
        list(server.answer(product, [], v, s[:, :2]))


def test_an_insecure_set_gets_no_keys():
    with pytest.raises(ValueError, match="security"):
        HeClient([HeParams(4096, (48, 48), 17)])
