"""The kernels against SEAL and against integers, for every instruction set this machine has."""

from math import prod

import numpy as np
import pytest
import seal

from ppc.runtime._he import Basis
from ppc.runtime.he.params import PACKING_SETS, HeParams, context

SMALL = 16
LARGEST = [p for p in range(2**48 - 2**15 + 1, 2**48, 32) if pow(2, p - 1, p) == 1][-2:]


def bases(degree, primes):
    for isa in ("ifma", "avx512", "avx2", "plain"):
        try:
            yield Basis(degree, primes, isa)
        except ValueError:
            assert isa != "plain"


def residues(rng, primes, *shape):
    """Uniform residues, the extremes among them: (*shape, L, N)."""
    out = np.stack([rng.integers(0, p, shape, np.uint64) for p in primes], axis=-2)
    for i, p in enumerate(primes):
        out[0, i, :3] = 0, p - 1, p // 2
    return out


def centred(primes, x):
    """Residues (..., L, N) as the kernels pass them on."""
    limits = np.array(primes, np.int64)[:, None]
    return np.where(x > limits // 2, x.view(np.int64) - limits, x.view(np.int64)).astype(np.float64)


def negacyclic(a, b, p):
    full = np.convolve(a.astype(object), b.astype(object))
    out = full[: len(a)].copy()
    out[: len(full) - len(a)] -= full[len(a) :]
    return out % p


def seal_bytes(ctx, ntt, c0, c1):
    """A SEAL ciphertext from canonical residues (L, N) each."""
    key = seal.KeyGenerator(ctx)
    encryptor = seal.Encryptor(ctx, key.create_public_key(), key.secret_key())
    model = encryptor.encrypt_symmetric(seal.Plaintext("1"))
    if ntt:
        seal.Evaluator(ctx).transform_to_ntt_inplace(model)
    made = seal.Ciphertext()
    made.load_bytes(ctx, model.to_string()[:113] + c0.tobytes() + c1.tobytes())
    return made


@pytest.mark.parametrize("params", PACKING_SETS[::3], ids=str)  # SEAL takes the last prime for itself
def test_the_transform_is_seals(params):
    rng = np.random.default_rng(1)
    x = residues(rng, params.primes, 2, params.degree)
    cipher = seal_bytes(context(params), False, x[0], x[1])
    seal.Evaluator(context(params)).transform_to_ntt_inplace(cipher)
    theirs = np.frombuffer(cipher.to_string(), np.uint64, offset=113).reshape(x.shape)
    for basis in bases(params.degree, list(params.primes)):
        ours = basis.transform(x)
        assert np.array_equal(ours, theirs)
        assert np.array_equal(basis.transform(ours, inverse=True), x)


@pytest.mark.parametrize("block", [8, 16])
@pytest.mark.parametrize("terms", [1, 3, 40])
def test_sums_of_products_are_exact_at_the_largest_primes(block, terms):
    rng = np.random.default_rng(terms)
    rows, groups = 2, 2
    cipher = residues(rng, LARGEST, terms * rows * 2, SMALL).reshape(terms, rows, 2, 2, SMALL)
    plain = rng.integers(-(2**46), 2**46, (terms, groups, block, 8))
    for basis in bases(SMALL, LARGEST):
        ntt = basis.transform(cipher.reshape(-1, 2, SMALL))
        primes = np.array(LARGEST, np.int64)[:, None]
        centred = np.where(ntt > primes // 2, ntt.view(np.int64) - primes, ntt.view(np.int64))
        acc = np.zeros((2, groups, SMALL // block, rows, 2, block, 8))
        x = centred.astype(np.float64).reshape(cipher.shape)
        basis.accumulate(acc, x, plain.astype(np.float64))
        for _ in range(2):  # a second call adds to the first
            row, c, group, lane = rng.integers(0, (rows, 2, groups, 8))
            for i, p in enumerate(LARGEST):
                sums = acc[i, group, :, row, c, :, lane].reshape(-1).astype(np.int64) % p
                full = np.zeros((1, 2, SMALL), np.uint64)
                full[0, i] = sums
                got = basis.transform(full, inverse=True)[0, i]
                want = np.zeros(SMALL, object)
                for t in range(terms):
                    padded = np.zeros(SMALL, object)
                    padded[:block] = plain[t, group, :, lane]
                    want += negacyclic(cipher[t, row, c, i], padded, p)
                assert np.array_equal(got.astype(object), want % p)


def test_switching_rounds_the_composed_value():
    params = HeParams(8192, (44, 43, 41))
    rng = np.random.default_rng(2)
    x = residues(rng, params.primes, 2, params.degree)[None]
    positions = np.array([0, 1, 2, 77, 4095], np.uint32)
    mask = rng.integers(0, 2**63, (1, 5), np.uint64) * np.uint64(2)
    c1, c0 = Basis(params.degree, list(params.primes)).switch_down(
        centred(params.primes, x), 40, 33, positions, mask
    )
    none = [0] * params.degree
    for row, got, at, bits, off in (
        (x[0, 0], c0[0], positions, 33, mask[0].tolist()),
        (x[0, 1], c1[0], range(4096), 40, none),
    ):
        for value, j, less in zip(got, at, off, strict=False):
            c = sum(
                int(r) * pow(int(params.q // p), -1, p) * int(params.q // p)
                for r, p in zip(row[:, j], params.primes, strict=True)
            )
            exact = ((c % params.q) / params.q - less / 2**64) % 1 * 2**bits
            assert min(abs(exact - int(value)), 2**bits - abs(exact - int(value))) <= 0.5 + 2**-8


@pytest.mark.parametrize(
    ("degree", "primes", "match"),
    [
        (100, LARGEST, "power of two"),
        (SMALL, [], "1 to 8"),
        (SMALL, [LARGEST[0], LARGEST[0]], "differ"),
        (SMALL, [LARGEST[0], LARGEST[1] - 32 * 3], "prime"),
        (SMALL, [LARGEST[0], 2**49 - 63], "48 bits"),
    ],
)
def test_a_bad_basis_is_refused(degree, primes, match):
    with pytest.raises(ValueError, match=match):
        Basis(degree, primes)


def test_bad_sizes_are_refused():
    basis = Basis(SMALL, LARGEST)
    with pytest.raises(ValueError, match="wrong shape"):
        basis.transform(np.zeros((1, 3, SMALL), np.uint64))
    with pytest.raises(ValueError, match="not below its modulus"):
        basis.transform(np.full((1, 2, SMALL), LARGEST[1], np.uint64))
    with pytest.raises(ValueError, match="not below its modulus"):
        basis.ciphertexts(np.full((2, 1, SMALL), 2**48 - 1, np.uint64), np.zeros((1, 2, SMALL, 2), np.uint64))
    with pytest.raises(ValueError, match="outside"):
        basis.switch_down(
            np.zeros((1, 2, 2, SMALL)), 20, 20, np.array([SMALL], np.uint32), np.zeros((1, 1), np.uint64)
        )
    with pytest.raises(ValueError, match="block size"):
        basis.accumulate(
            np.zeros((2, 1, 1, 1, 2, 12, 8)), np.zeros((1, 1, 2, 2, SMALL)), np.zeros((1, 1, 12, 8))
        )
    words, positions = np.zeros((1, SMALL), np.uint64), np.arange(SMALL, dtype=np.uint32)
    tiny = [p for p in range(2**21 + 1, 2**22, 32) if pow(2, p - 1, p) == 1][:2]
    narrow = Basis(SMALL, tiny)
    with pytest.raises(ValueError, match="do not hold"):
        narrow.decrypt(words, words, np.zeros((2, SMALL)), 52, 20, positions)


WIDE = [p for p in range(2**42 - 2**20 + 1, 2**42, 32) if pow(2, p - 1, p) == 1][-4:]


@pytest.mark.parametrize(
    ("primes", "ell", "drop"),
    [(LARGEST, 20, 0), (LARGEST, 30, 9), (WIDE, 42, 25), (LARGEST[:1], 20, 0), (LARGEST[:1], 33, 4)],
    ids=str,
)
def test_uploads_hold_what_they_say_on_every_processor(primes, ell, drop):
    """c0 + c1·s = q·u/2^ell + e + what rounding adds, and u = 0 where nothing is free."""
    rng, count, q = np.random.default_rng(4), 11, prod(primes)
    free = (np.arange(SMALL) % 3 == 0).astype(np.uint8)
    offset = rng.integers(0, 2**ell, (count, SMALL), np.uint64)
    noise = rng.integers(0, 2**63, (count, SMALL), np.uint64)
    raw = rng.integers(0, 2**63, (count, len(primes), SMALL, 2), np.uint64)
    key = rng.integers(-1, 2, SMALL)
    results = []
    for basis in bases(SMALL, primes):
        rows = np.stack([(key % p).astype(np.uint64) for p in primes])[None]
        ntt = basis.transform(rows)[0].view(np.int64)
        limits = np.array(primes)[:, None]
        secret = np.where(ntt > limits // 2, ntt - limits, ntt).astype(np.float64)
        even, plain, said = basis.upload(free, ell, drop, offset, noise, raw, secret)
        assert even
        back = basis.read_upload(free, ell, drop, offset, said, raw)
        c0, c1, s = (x.astype(np.int64).astype(object) for x in (back[:, 0], back[:, 1], secret))
        phase = (c0 + c1 * s) % limits.astype(object)
        low = basis.transform(phase.astype(np.uint64), inverse=True).astype(object)
        whole = sum(low[:, i] * pow(q // p, -1, p) * (q // p) for i, p in enumerate(primes)) % q
        error = (whole * 2**ell - plain.astype(object) * q) % (q << ell)
        error = np.where(error > q << (ell - 1), error - (q << ell), error) / 2**ell
        assert not plain[:, free == 0].any()
        assert len(np.unique(plain[:, free == 1])) > count
        assert np.abs(error).max() <= 21 + 2 ** (drop - 1) + 2
        results.append((plain, said))
    for plain, said in results[1:]:
        assert np.array_equal(plain, results[0][0])
        assert np.array_equal(said, results[0][1])


@pytest.mark.parametrize("count", [1, 2])
def test_a_y_that_belongs_to_no_plaintext_is_told(count):
    """q of 21 bits and plaintexts of 18: of some coefficients in a hundred y is one too many for its k."""
    found = [p for p in range(2**21 - 31, 2**20, -32) if pow(2, p - 1, p) == 1]
    uneven = [p for p in found if p % 2**18 > 2**17][:1] if count == 1 else found[:2]
    ell = 18 if count == 1 else 38
    free, each, told = np.ones(SMALL, np.uint8), prod(uneven) >> ell, []
    for basis in bases(SMALL, uneven):
        for seed in range(60):
            draws = np.random.default_rng(seed)
            offset = draws.integers(0, 2**ell, (1, SMALL), np.uint64)
            noise = draws.integers(0, 2**63, (1, SMALL), np.uint64)
            raw = draws.integers(0, 2**63, (1, count, SMALL, 2), np.uint64)
            even, _, said = basis.upload(free, ell, 0, offset, noise, raw, np.zeros((count, SMALL)))
            assert not even or int(said[0].max()) < each
            told.append(even)
    assert 0 < sum(told) < len(told)
