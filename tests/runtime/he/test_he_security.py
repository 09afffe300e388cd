"""What each side sees of a product under HE, and the distributions that hide the rest.

Each protection has a test here that passes with it and fails without.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import scipy.stats
from he_ends import SEED, centred, composed, draw, ends_of, noise_of, off, protected, uploaded
from packed import pack_left

from ppc.runtime.base.prg import SEED_BYTES, Prg
from ppc.runtime.he import bfv as he
from ppc.runtime.he import cipher as he_cipher
from ppc.runtime.he.bfv import HeClient, HeServer, share_of
from ppc.runtime.he.cipher import SecretKey, basis, key_basis
from ppc.runtime.he.packing import Tile
from ppc.runtime.he.params import HeParams
from ppc.runtime.he.product import Product

pytestmark = pytest.mark.long

PARAMS = HeParams(4096, (48,))
PACKED = PARAMS.packing(4)
TWO = HeParams(4096, (35, 34))
PRODUCT = Product(1, 32, 64, 16, 28, 13, 8, Tile(32, 16, 8), PARAMS)
PACKING = Product(1, 16, 16, 256, 24, 12, 8, Tile(16, 16, 16), PACKED, 16)
MASKS = Product(1, 16, 32, 32, 24, 26, 9, Tile(16, 32, 8), TWO)
ALL = (PRODUCT, PACKING, MASKS)
WORDS = he.words


@pytest.fixture(scope="module")
def ends():
    return ends_of(PARAMS, PACKED, TWO)


def canonical(params, x):
    """Residues (..., primes, N) in [0, p)."""
    return (x.astype(np.int64) % np.array(params.primes)[:, None]).astype(np.uint64)


def value_bits(product):
    return None if product is MASKS else 6


def hidden(product, server, before):
    """The same ciphertexts with an encryption of zero each."""
    after = before.copy()
    noise = he.words(Prg(), len(after), 2, product.params.degree)
    basis(product.params).rerandomise(after, server._keys[product.params], noise)
    return after


def added(product, ends):
    """What the encryptions of zero add to a unit's answers, canonical: (answers, 2, primes, N)."""
    client, server = ends
    v, _ = draw(product, value_bits(product))
    before = protected(server, product, uploaded(client, product)[1], v)
    after = hidden(product, server, before)
    primes = np.array(product.params.primes, np.uint64)[:, None]
    return (canonical(product.params, after) + primes - canonical(product.params, before)) % primes


def even(x, top, bins=64):
    """Whether numbers below top are spread evenly."""
    counts = np.histogram(np.asarray(x, float).ravel() / top, bins=bins, range=(0, 1))[0]
    return scipy.stats.chisquare(counts).pvalue > 1e-9


def is_binomial(error):
    """Whether errors are SEAL's centred binomial: variance 10.5, never above 21."""
    error = np.asarray(error, float)
    spread = 10.5 * (2 / error.size) ** 0.5 * 6
    return np.abs(error).max() <= 21 and abs(error.mean()) < 0.3 and abs(error.var() - 10.5) < spread


def is_ternary(x):
    """Whether -1, 0 and 1 are a third each, and nothing else is there."""
    values, counts = np.unique(np.asarray(x, np.int64), return_counts=True)
    return values.tolist() == [-1, 0, 1] and scipy.stats.chisquare(counts).pvalue > 1e-9


# -- c1: an RLWE sample on top


def ternaries_and_errors(product, ends):
    """u and e of the encryptions of zero that hide a unit's answers: u = c0/b, e = c1 - a·u."""
    server = ends[1]
    params = product.params
    both, key = added(product, ends), canonical(params, server._keys[params])
    at = basis(params)
    u_rows, e_rows = [], []
    for c0, c1 in both:
        ntt = at.transform(np.stack([c0, c1]))
        u = np.zeros_like(c0)
        error = np.zeros_like(c0)
        for i, p in enumerate(params.primes):
            inverse = [pow(int(b), -1, p) for b in key[0, i]]
            u[i] = [int(x) * y % p for x, y in zip(ntt[0, i], inverse, strict=True)]
            error[i] = [
                (int(x) - int(a) * int(y)) % p for x, a, y in zip(ntt[1, i], key[1, i], u[i], strict=True)
            ]
        back = at.transform(np.stack([u, error]), inverse=True)
        whole = centred(composed(back, params.primes), params.q)
        u_rows.append(whole[0])
        e_rows.append(whole[1])
    return np.array(u_rows), np.array(e_rows)


def hides(ends, product):
    u, e = ternaries_and_errors(product, ends)
    return is_ternary(u) and is_binomial(e)


@pytest.mark.parametrize("product", ALL, ids=["weights", "packed", "masks"])
def test_answers_are_hidden_by_a_ternary_and_an_error_of_the_right_distribution(ends, product):
    assert hides(ends, product)


def spoiled(column, value):
    """Words of encryptions of zero with u (0) or e (1) spoiled by `value`."""

    def words(prg, *shape):
        made = WORDS(prg, *shape)
        if shape[1:2] == (2,):
            made[:, column] = value(made[:, column])
        return made

    return words


@pytest.mark.parametrize(
    ("column", "value"),
    [
        (0, lambda x: np.full_like(x, 1 << 63)),  # u = 0
        (0, lambda x: np.where(x % np.uint64(50) == 0, x, np.uint64(1 << 63))),  # 98 in a hundred are 0
        (0, lambda x: x | np.uint64(1 << 63)),  # u in {0, 1}
        (1, lambda x: np.zeros_like(x)),  # e = 0
        (1, lambda x: x & np.uint64(1)),  # e in {0, 1}
        (1, lambda x: x & np.uint64(1023)),
    ],
    ids=["no u", "sparse u", "binary u", "no error", "binary error", "small error"],
)
def test_without_the_right_distributions_they_would_not_be(ends, monkeypatch, column, value):
    monkeypatch.setattr(he, "words", spoiled(column, value))
    assert not hides(ends, PRODUCT)


@pytest.mark.parametrize("product", ALL, ids=["weights", "packed", "masks"])
def test_c1_is_what_it_was_plus_something_fresh_and_uniform(ends, product):
    client, server = ends
    v, _ = draw(product, value_bits(product))
    before = protected(server, product, uploaded(client, product)[1], v)
    first, second = (canonical(product.params, hidden(product, server, before)[:, 1]) for _ in range(2))
    for i, p in enumerate(product.params.primes):
        difference = (first[:, i] + np.uint64(p) - second[:, i]) % np.uint64(p)
        less = (first[:, i] + np.uint64(p) - canonical(product.params, before[:, 1])[:, i]) % np.uint64(p)
        assert even(difference, p)
        assert even(less, p)


def test_the_server_chooses_what_hides_its_answers(ends):
    """The a of a public key is expanded from the server's seed, whatever the client sends."""
    a = ends[1]._keys[PARAMS][1]
    other = HeServer(bytes(SEED_BYTES))
    other.add([PARAMS], HeClient().add([PARAMS], SEED))  # made under another seed than that server's
    assert not np.array_equal(other._keys[PARAMS][1], a)
    fresh = HeServer(SEED)
    fresh.add([PARAMS], b"\0" * (4096 * 48 // 8))
    assert np.array_equal(fresh._keys[PARAMS][1], a)
    assert even(canonical(PARAMS, a), PARAMS.q)
    sets = (PARAMS, PACKED, TWO)
    seeds = {he_cipher.public_words(each, SEED)[0, 0, 0, 0] for each in sets}
    assert len(seeds) == len(sets)


# -- c0: a uniform fraction of the modulus


def sent(product, ends, v, mask, up=None):
    """c1 and c0 of the one unit and entry of an answer, as they are on the wire."""
    client, server = ends
    (down,) = server.answer(product, uploaded(client, product)[1] if up is None else up, v, mask)
    first, second = product.unit_sizes(0)
    count = product.row_tiles * product.unit_packs(0)
    c1 = he.wire.unpack(down[:first], product.answer_bits, count * product.params.degree)
    return c1, he.wire.unpack(down[first : first + second], product.result_bits, product.m * product.n)


@pytest.mark.parametrize("loud", [False, True])
@pytest.mark.parametrize("product", [PRODUCT, PACKING], ids=["weights", "packed"])
def test_what_is_sent_is_uniform_whatever_the_weights(ends, product, loud):
    v = np.full((1, product.k, product.n), (1 << 9) if loud else 0)
    found = [sent(product, ends, v, draw(product)[1]) for _ in range(4)]
    for part, bits in ((0, product.answer_bits), (1, product.result_bits)):
        assert even(np.concatenate([each[part] for each in found]), 2.0**bits)


@pytest.mark.parametrize("product", ALL, ids=["weights", "packed", "masks"])
def test_the_shares_add_up_within_the_bound_and_each_is_uniform(ends, product):
    client, server = ends
    v, mask = draw(product, value_bits(product))
    u, up = uploaded(client, product)
    down = list(server.answer(product, up, v, mask))
    share = client.finish(product, iter(down))
    assert np.abs(off(product, u, v, mask, client, down)).max() <= 2**product.spare
    for each in (share, share_of(mask, product.ell)):
        assert even(each, 2.0**product.ell, bins=16)


def test_two_answers_to_the_same_upload_have_fresh_masks(ends):
    client, server = ends
    v, _ = draw(PRODUCT, 6)
    up = uploaded(client, PRODUCT)[1]
    first, second = (list(server.answer(PRODUCT, up, v, draw(PRODUCT)[1])) for _ in range(2))
    a, b = (np.unpackbits(np.frombuffer(x[0], np.uint8)) for x in (first, second))
    assert abs(np.mean(a != b) - 0.5) < 0.01
    moved = client.finish(PRODUCT, first) - client.finish(PRODUCT, second)
    assert even(moved & np.uint64((1 << PRODUCT.ell) - 1), 2.0**PRODUCT.ell, bins=16)


# -- a client that deviates


ATTACKED = Product(1, 8, 32, 64, 20, 8, 1, Tile(8, 32, 8), PARAMS)


def agreement(ends, mask_of):
    """How often the lowest bit of a weight is what a client reads that adds q/2^(ell+1) to its upload.

    Its upload holds 0 but for that fraction of a unit at x[0, 3], so the fraction of result (0, j) is half of
    w[3, j]. A mask of whole units leaves it in sight.
    """
    client, server = ends
    params, ell, right, total = PARAMS, ATTACKED.ell, 0, 0
    key = client._keys[params]
    for _ in range(12):
        v, mask = draw(ATTACKED, 5)
        mask = mask_of(mask)
        c1 = he_cipher.mask_words(params, Prg(), 1)
        c0 = basis(params).encrypt_zero(he_cipher.words(Prg(), 1, params.degree), c1, key.ntt)
        extra = np.zeros((1, 1, params.degree), np.uint64)
        extra[0, 0, 3] = params.q >> (ell + 1)
        c0 = (c0 + basis(params).transform(extra)) % np.uint64(params.q)
        crafted = basis(params).ciphertexts(c0, c1)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(he, "read_upload", lambda *_, crafted=crafted: crafted)
            down = list(server.answer(ATTACKED, [b""], v, mask))
        read = decrypted(client, down[0])
        fraction = read * 2.0**ell % 1.0
        bit = (fraction > 0.25) & (fraction < 0.75)
        right += int(np.sum(bit == (v[0, 3] & 1)))
        total += bit.size
    return right / total


def decrypted(client, down):
    """The phases of row 0 as fractions of the modulus, as finely as the answer gives them."""
    fine = replace(ATTACKED, ell=ATTACKED.answer_bits, spare=12)
    bits, positions = ATTACKED.answer_bits, ATTACKED.positions()
    first, second = ATTACKED.unit_sizes(0)
    packs = ATTACKED.unit_packs(0)
    c1 = he.wire.unpack(down[:first], bits, packs * PARAMS.degree).reshape(packs, -1)
    c0 = he.wire.unpack(down[first : first + second], ATTACKED.result_bits, 8 * 64).reshape(8, 64)
    c0 = he.cut_results(c0 << np.uint64(bits - ATTACKED.result_bits), ATTACKED.tile, packs).reshape(packs, -1)
    secret = client._keys[PARAMS].reading(bits)
    reader = he.reading_basis(PARAMS.degree, bits)
    slots = reader.decrypt(c1, c0, secret, bits, fine.ell, positions)
    return he.join_results(slots.reshape(1, packs, -1), ATTACKED.tile, 8, 64)[0] / 2.0**bits


def test_a_client_that_adds_a_fraction_of_a_unit_learns_nothing(ends):
    assert ATTACKED.result_bits > ATTACKED.ell
    read = agreement(ends, lambda mask: mask)
    assert abs(read - 0.5) < 5 * 0.5 / (12 * 64) ** 0.5


def test_a_mask_of_whole_units_would_tell_it_every_bit(ends):
    whole = np.uint64((1 << 64) - (1 << (64 - ATTACKED.ell)))
    assert agreement(ends, lambda mask: mask & whole) > 0.95


# -- the error is bounded


@pytest.mark.parametrize("product", ALL, ids=["weights", "packed", "masks"])
def test_the_noise_stays_below_its_bound(ends, product):
    """For masks, and for weights of the norm that the plan announces."""
    if product is MASKS:
        v = draw(product)[0]
    else:
        v = np.full((1, product.k, product.n), int(2.0**product.norm_bits / product.k**0.5))
    client, server = ends
    u, up = uploaded(client, product)
    answers = hidden(product, server, protected(server, product, up, v))
    worst = np.abs(noise_of(product, client, answers, u, v)).max()
    assert product.noise / 200 < worst <= product.noise


# -- keys and uploads


def error_of(at, primes, c0, c1, secret, less=None):
    """c0 + c1·s (- less) as centred integers, all in NTT form, (count, primes, N)."""
    moduli = np.array(primes, object)[:, None]
    phase = c0.astype(np.int64).astype(object) + c1.astype(np.int64).astype(object) * secret.astype(
        np.int64
    ).astype(object)
    if less is not None:
        phase = phase - less.astype(object)
    back = at.transform((phase % moduli).astype(np.uint64), inverse=True)
    return centred(composed(back, primes), int(np.prod(moduli)))


def test_the_secret_key_is_ternary(ends):
    client, _ = ends
    assert is_ternary(np.concatenate([client._keys[params]._ternary for params in (PARAMS, PACKED, TWO)]))


def test_the_public_key_and_the_switching_keys_carry_errors(ends):
    client, server = ends
    for params in (PARAMS, TWO):
        b, a = server._keys[params]
        assert is_binomial(error_of(basis(params), params.primes, b[None], a[None], client._keys[params].ntt))
    key, at = client._keys[PACKED], key_basis(PACKED)
    keys = server._pack_keys[PACKED].reshape(PACKED.pack_keys, 2, len(PACKED.chain), -1)
    whole = key._in(PACKED.all_primes, at)
    turned = key._turned().transpose(1, 0, 2)
    assert is_binomial(error_of(at, PACKED.all_primes, keys[:, 0], keys[:, 1], whole, turned))


def test_keys_are_fresh(ends):
    client, _ = ends
    first, second = (client._keys[PACKED].public(SEED, Prg()) for _ in range(2))
    size = PACKED.degree * 48 // 8
    assert first[size : size + SEED_BYTES] != second[size : size + SEED_BYTES]
    a, b = (np.unpackbits(np.frombuffer(x, np.uint8)) for x in (first, second))
    assert abs(np.mean(a != b) - 0.5) < 0.01
    other = HeClient()
    other.add([PARAMS], SEED)
    assert np.mean(other._keys[PARAMS]._ternary != client._keys[PARAMS]._ternary) > 0.6


def upload_errors(product, ends, count=1):
    """c0 + c1·s - q·u/2^ell of an upload's first part, in units of 1 modulo q."""
    client, _ = ends
    params = product.params
    u, (part, *_) = uploaded(client, product)
    inner = next(product.upload_steps())
    cipher = he.read_upload(product, inner, part)
    key = client._keys[params]
    phase = error_of(basis(params), params.primes, cipher[:, 0], cipher[:, 1], key.ntt)
    plain = pack_left(u[0], product.tile, params.degree).reshape(len(cipher), -1).astype(object)
    scaled = (phase * (1 << product.ell) - plain * params.q) % (params.q << product.ell)
    return centred(scaled, params.q << product.ell) / 2.0**product.ell


def test_an_uploads_error_is_seals_centred_binomial(ends):
    """Where nothing is dropped, at the coefficients without plaintext exactly so."""
    product = replace(PRODUCT, norm_bits=21, spare=8)
    assert product.drop == 0
    error = upload_errors(product, ends).astype(float)
    assert np.abs(error).max() <= 21 + 2
    empty = error[:, product.tile.free(PARAMS.degree) == 0]
    assert is_binomial(np.rint(empty))


def test_without_it_an_upload_would_be_solved(ends, monkeypatch):
    silent = lambda prg, *shape: np.zeros_like(WORDS(prg, *shape)) if len(shape) == 2 else WORDS(prg, *shape)  # noqa: E731
    monkeypatch.setattr(he_cipher, "words", silent)
    error = upload_errors(replace(PRODUCT, norm_bits=21, spare=8), ends).astype(float)
    assert not is_binomial(np.rint(error))


def test_dropped_bits_are_all_that_an_upload_adds(ends):
    error = upload_errors(PRODUCT, ends).astype(float)
    assert PRODUCT.drop > 4
    assert np.abs(error).max() <= 21 + 2 ** (PRODUCT.drop - 1) + 2
    assert error.std() == pytest.approx((2.0 ** (2 * PRODUCT.drop) / 12 + 11) ** 0.5, rel=0.05)


def test_every_part_of_every_upload_has_a_fresh_seed(ends):
    client, _ = ends
    product = Product(1, 4, 1500, 3, 16, 20, 3, Tile(4, 8, 3), PARAMS)
    parts = [*uploaded(client, product)[1], *uploaded(client, product)[1]]
    assert len({part[:16] for part in parts}) == len(parts)
    assert len({part[16:80] for part in parts}) == len(parts)


@pytest.mark.parametrize("product", [PRODUCT, MASKS], ids=["weights", "masks"])
def test_uploads_look_uniform(ends, product):
    client, _ = ends
    u, parts = uploaded(client, product)
    assert even(u, 2.0**product.ell, 16)
    each = product.params.q >> product.ell  # what a plaintext's y leave, of which low bits are dropped
    for part, inner in zip(parts, product.upload_steps(), strict=True):
        at, tiles = SEED_BYTES, (inner.stop - inner.start) * product.row_tiles
        for masked, _, bits, size in product.part_words(inner):
            count = tiles * (product.tile.rows * product.tile.inner)
            count = count if masked else tiles * product.params.degree - count
            said = he.wire.unpack(part[at : at + size], bits, count)
            assert even(said, (each if masked else product.params.q) / 2.0**product.drop)
            at += size


def test_an_upload_is_drawn_again_until_all_of_it_has_a_plaintext(ends, monkeypatch):
    client, _ = ends
    calls = []

    class Uneven:
        def upload(self, *args):
            calls.append(args)
            even, plain, said = basis(PARAMS).upload(*args)
            return even and len(calls) > 2, plain, said

    monkeypatch.setattr(he_cipher, "basis", lambda params: Uneven())
    key = client._keys[PARAMS]
    key.upload(PRODUCT, slice(0, 1), Prg())
    assert len(calls) == 3
    assert len({args[3].tobytes() for args in calls}) == 3  # a fresh public seed each time
    assert len({args[4].tobytes() for args in calls}) == 3  # and fresh errors


def test_masks_are_unrelated_to_the_seeded_offsets(ends):
    """U = h - k: without y's own high part k, the public seed would give the mask away."""
    client, _ = ends
    u, (part, *_) = uploaded(client, PRODUCT)
    public = Prg(part[:16])
    he_cipher.mask_words(PARAMS, public, 4)
    h = public.ring(PRODUCT.ell, (4, PARAMS.degree))[:, PRODUCT.tile.free(PARAMS.degree) == 1]
    first = u[0, :, :16].ravel()  # the first inner tile
    difference = (h[0] - first) & np.uint64(2**PRODUCT.ell - 1)
    assert even(difference, 2.0**PRODUCT.ell, 16)
    assert len(np.unique(difference)) == len(difference)


def test_nothing_secret_is_printed(ends):
    client, server = ends
    for thing in (client, server, client._keys[PARAMS]):
        text = repr(thing)
        assert len(text) < 200
        assert "array" not in text
    assert "<secret>" in repr(client)
    assert "<secret>" in repr(client._keys[PARAMS])
    assert isinstance(client._keys[PARAMS], SecretKey)
