"""Products under HE against integers, and against SEAL's own encryption and decryption."""

import numpy as np
import pytest
import seal
from he_ends import SEED, centred, draw, off, protected, uploaded
from packed import pack_left

from ppc.runtime.base.errors import RangeFault
from ppc.runtime.base.prg import Prg
from ppc.runtime.base.ring import Fixed
from ppc.runtime.cost.rates import he_seconds
from ppc.runtime.he import bfv as he
from ppc.runtime.he.bfv import HeClient, HeServer
from ppc.runtime.he.cipher import SecretKey, basis, read_upload, words
from ppc.runtime.he.packing import Tile
from ppc.runtime.he.params import PARAMETER_SETS, HeParams, context
from ppc.runtime.he.product import Product, answer_parts, upload_parts
from ppc.runtime.he.tiling import plan_product

NATIVE = HeParams(4096, (48,))
WIDE = HeParams(4096, (35, 34))


def check(product, ends, value_bits=None):
    client, server = ends(product.params)
    v, mask = draw(product, value_bits)
    u, up = uploaded(client, product)
    assert [len(part) for part in up] == upload_parts(product)
    down = list(server.answer(product, up, v, mask))
    assert [len(part) for part in down] == answer_parts(product)
    assert np.abs(off(product, u, v, mask, client, down)).max() <= 2**product.spare


@pytest.mark.parametrize("ell", [2, 8, 16, 17, 24, 26, 30, 32, 37, 40, 42, 48])
def test_products_of_masks_in_every_ring(ell, ends):
    check(plan_product(2, 5, 13, 7, ell, he_seconds, spare=max(1, ell - 41)), ends)


@pytest.mark.parametrize("seed", range(12))
def test_products_of_any_shape(seed, ends):
    rng = np.random.default_rng(seed)
    batch, m, k, n = (int(x) for x in rng.integers(1, (4, 40, 150, 150)))
    price = float(rng.choice([1e-12, 8e-8, 1e-5]))
    product = plan_product(
        batch, m, k, n, 28, he_seconds, spare=int(rng.integers(4, 16)), value_bits=11, byte_price=price,
        params=(NATIVE,),
    )  # fmt: skip
    check(product, ends, 11)


@pytest.mark.long
@pytest.mark.parametrize(
    "tile", [Tile(1, 4, 1), Tile(3, 7, 2), Tile(40, 1, 50), Tile(1, 64, 64), Tile(20, 9, 9)]
)
def test_products_in_any_tile(tile, ends):
    check(Product(1, 21, 33, 40, 20, 24, 2, tile, WIDE), ends)


@pytest.mark.parametrize("params", PARAMETER_SETS, ids=str)
def test_every_parameter_set_carries_products(params, ends):
    check(Product(1, 16, 64, 16, 12, 7, 3, Tile(16, 16, 8), params), ends, 4)


def test_many_inner_tiles_are_streamed(ends):
    product = Product(1, 4, 1500, 3, 16, 20, 1, Tile(4, 8, 3), NATIVE)
    assert len(upload_parts(product)) > 4
    check(product, ends, 15)


def test_extreme_weights_stay_within_the_bound(ends):
    """All weights at the norm that the plan announces, and room for little more than rounding."""
    product = Product(1, 8, 64, 8, 21, 14, 2, Tile(8, 64, 8), NATIVE)
    client, server = ends(product.params)
    v, mask = np.full((1, 64, 8), -(1 << 11)), draw(product)[1]
    u, up = uploaded(client, product)
    down = server.answer(product, up, v, mask)
    assert np.abs(off(product, u, v, mask, client, down)).max() <= 4


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
    client, server = HeClient(), HeServer(SEED)
    client.install(key := SecretKey(params, secret))
    server.add([params], key.public(SEED, Prg()))
    return ctx, secret, client, server


SEAL_SETS = [
    (HeParams(4096, (48,)), 28),
    (HeParams(4096, (41,)).packing(1), 16),
    (HeParams(4096, (35, 34)).packing(1), 37),
]
"""SEAL takes the last prime for itself where there are several, so those need a special one."""


@pytest.mark.parametrize(("params", "ell"), SEAL_SETS, ids=str)
def test_seal_decrypts_our_uploads(params, ell):
    ctx, secret, client, _ = seal_session(params, ell)
    product = Product(1, 8, 32, 8, ell, 6, 3, Tile(8, 32, 8), params)
    u, (part,) = uploaded(client, product)
    cipher = seal_cipher(ctx, True, canonical(params, read_upload(product, slice(0, 1), part)[0]))
    seal.Evaluator(ctx).transform_from_ntt_inplace(cipher)
    decryptor = seal.Decryptor(ctx, secret)
    # SEAL measures the noise below (q / 2t): ours is that of a fresh ciphertext, or of the bits not sent
    room = sum(params.data_bits) - ell - max(7, product.drop + 2)
    assert decryptor.invariant_noise_budget(cipher) >= room > 0
    plain = coefficients(decryptor.decrypt(cipher), params.degree)
    assert np.array_equal(plain, pack_left(u[0], product.tile, params.degree)[0, 0])


@pytest.mark.parametrize(("params", "ell"), SEAL_SETS, ids=str)
def test_seal_decrypts_our_answers_before_they_are_masked(params, ell):
    ctx, secret, client, server = seal_session(params, ell)
    product = Product(1, 8, 32, 24, ell, 9, 12, Tile(8, 32, 8), params)
    v, _ = draw(product, 6)
    u, up = uploaded(client, product)
    answers = protected(server, product, up, v)
    basis(params).rerandomise(answers, server._keys[params], words(Prg(), len(answers), 2, params.degree))
    want = (u @ v.view(np.uint64))[0].reshape(8, 3, 8)
    num = Fixed(ell)
    for lane in range(3):
        cipher = seal_cipher(ctx, False, canonical(params, answers[lane]))
        decryptor = seal.Decryptor(ctx, secret)
        plain = coefficients(decryptor.decrypt(cipher), params.degree)[product.tile.positions()]
        error = num.signed(num.wrap(plain.reshape(8, 8) - want[:, lane]))
        assert np.abs(error).max() <= 2**product.spare / 2


def test_we_take_ciphertexts_made_by_seal(monkeypatch):
    params, ell = NATIVE, 28
    ctx, secret, client, server = seal_session(params, ell)
    product = Product(1, 8, 32, 24, ell, 10, 8, Tile(8, 32, 8), params)
    v, mask = draw(product, 6)
    u = Prg().ring(ell, (1, 8, 32))
    plain = seal.Plaintext(params.degree)
    poly = pack_left(u[0], product.tile, params.degree)[0, 0]
    template = seal.Plaintext("1x^" + format(params.degree - 1, "d")).to_bytes(seal.compr_mode_type.none)
    plain.load_bytes(ctx, template[:88] + poly.tobytes())
    keys = seal.KeyGenerator(ctx)
    cipher = seal.Encryptor(ctx, keys.create_public_key(), secret).encrypt_symmetric(plain)
    seal.Evaluator(ctx).transform_to_ntt_inplace(cipher)
    theirs = np.frombuffer(cipher.to_string(), np.uint64, offset=113).reshape(1, 2, 1, params.degree)
    theirs = centred(theirs.astype(np.int64), params.q).astype(np.float64)
    monkeypatch.setattr(he, "read_upload", lambda *_: theirs)
    down = server.answer(product, [b""], v, mask)
    assert np.abs(off(product, u, v, mask, client, down)).max() <= 2**product.spare


# -- what is refused


@pytest.fixture
def small(ends):
    product = Product(1, 3, 5, 7, 20, 12, 3, Tile(3, 5, 7), NATIVE)
    return product, *ends(NATIVE), *draw(product, 8)


def test_weights_beyond_the_announced_norm_are_refused(small):
    product, client, server, v, mask = small
    loud = v.copy()
    loud[0, 2, 3] = 1 << 13
    with pytest.raises(RangeFault, match=r"norm above 2\^12"):
        list(server.answer(product, uploaded(client, product)[1], loud, mask))


def test_malformed_messages_are_refused(small):
    product, client, server, v, mask = small
    _, (up,) = uploaded(client, product)
    for bad in (up[:-1], up + b"\0", b""):
        with pytest.raises(ValueError, match="bytes"):
            list(server.answer(product, [bad], v, mask))
    with pytest.raises(ValueError, match="ends early"):
        list(server.answer(product, [], v, mask))
    (down,) = server.answer(product, [up], v, mask)
    with pytest.raises(ValueError, match="does not belong"):
        client.finish(product, [down[:-1]])
    with pytest.raises(ValueError, match="shorter"):
        client.finish(product, [])
    keys = client.add([NATIVE], SEED)
    with pytest.raises(ValueError, match="public keys"):
        server.add([NATIVE], keys + b"\0")
    with pytest.raises(ValueError, match="not below its modulus"):
        server.add([NATIVE], b"\xff" * len(keys))
    packing = NATIVE.packing(1)
    with pytest.raises(ValueError, match="wrong length"):
        server.add([packing], client.add([packing], SEED)[:-1])


def test_wrong_shapes_are_refused(small):
    product, _, server, v, mask = small
    with pytest.raises(ValueError, match="V must be"):
        list(server.answer(product, [], v.astype(float), mask))
    with pytest.raises(ValueError, match="mask must be"):
        list(server.answer(product, [], v, mask[:, :2]))


def test_an_insecure_set_gets_no_keys():
    with pytest.raises(ValueError, match="security"):
        HeClient().add([HeParams(4096, (48, 47, 48))], SEED)
