from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

from ppc.runtime import _ot
from ppc.runtime.ot.keys import choice_bits, hash_tweak, receiver_keys, sender_keys

TWEAK = np.arange(16, dtype=np.uint8)
N, FIRST = 300, 2**32 - 7
BATCH = 1024


def _cots(n: int = N) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Delta, q, t, c."""
    rng = np.random.default_rng(5)
    words = rng.integers(0, 2**64, (n + 1, 2), dtype=np.uint64)
    one = np.array([1, 0], np.uint64)
    delta, q = words[:1] | one, words[1:] & ~one
    c = rng.integers(0, 2, n).astype(np.uint64)
    return delta, q, q ^ c[:, None] * delta, c


def _permutation(batch: int, part: int, tweak: np.ndarray = TWEAK) -> Callable[[int], int]:
    """The permutation of a batch and of a block of its keys, written with the cryptography package."""
    stream = Cipher(algorithms.AES(tweak.tobytes()), modes.ECB()).encryptor()
    key = stream.update((part << 64 | batch).to_bytes(16, "big"))
    pi = Cipher(algorithms.AES(key), modes.ECB()).encryptor()
    return lambda x: _number(pi.update(x.to_bytes(16, "little")))


def _number(block: bytes) -> int:
    return int.from_bytes(block, "little")


def _hash(block: bytes, index: int, nbytes: int) -> bytes:
    """TMMO by its definition."""
    inner = _permutation(index // BATCH, 0)(_number(block))
    out = b""
    for j in range(-(-nbytes // 16)):
        outer = _permutation(index // BATCH, j)(inner ^ index ^ j << 64)
        out += (outer ^ inner).to_bytes(16, "little")
    return out[:nbytes]


@pytest.mark.parametrize("nbytes", [1, 2, 3, 8, 15, 16, 17, 31, 32, 50, 128, 300])
def test_keys_agree_with_the_definition_and_with_each_other(nbytes: int) -> None:
    delta, q, t, c = _cots()
    k0, k1 = sender_keys(q, delta, TWEAK, FIRST, nbytes)
    k = receiver_keys(t, TWEAK, FIRST, nbytes)
    assert k.shape == k0.shape == k1.shape == (N, nbytes)
    assert (k == np.where(c[:, None] == 1, k1, k0)).all()
    for i in (0, 1, 6, 7, 63, 64, 70, 71, N - 1):
        assert k[i].tobytes() == _hash(t[i].tobytes(), FIRST + i, nbytes)


def test_the_key_not_chosen_is_unrelated() -> None:
    delta, q, t, c = _cots(4000)
    k0, k1 = sender_keys(q, delta, TWEAK, 0, 4)
    other = np.where(c[:, None] == 1, k0, k1)
    apart = np.unpackbits(other ^ receiver_keys(t, TWEAK, 0, 4), axis=1).mean(axis=0)
    assert np.abs(apart - 0.5).max() < 0.05
    assert np.abs(np.unpackbits(k0 ^ k1, axis=1).mean(axis=0) - 0.5).max() < 0.05


def test_the_index_enters_the_hash() -> None:
    """Equal blocks under other indices give other keys; so do the blocks of one long key."""
    _, q, _, _ = _cots()
    same = np.repeat(q[:1], N, axis=0)
    keys = receiver_keys(same, TWEAK, 0, 32).reshape(2 * N, 16)
    assert len(np.unique(keys, axis=0)) == 2 * N
    assert (receiver_keys(q, TWEAK, 0, 16) != receiver_keys(q, TWEAK, 1, 16)).any(axis=1).all()


@pytest.mark.parametrize("nbytes", [4, 16, 24, 140])
def test_keys_are_the_same_however_they_are_taken(nbytes: int) -> None:
    """Takes begin and end inside a batch, and one may hold many batches."""
    delta, q, _, _ = _cots(10 * BATCH)
    whole = sender_keys(q, delta, TWEAK, FIRST, nbytes)
    at = 0
    for n in (1, 5, 1, 1023, 1024, 1025, 1, 64, 7000, 96):
        piece = sender_keys(q[at : at + n], delta, TWEAK, FIRST + at, nbytes)
        assert all((a == b[at : at + n]).all() for a, b in zip(piece, whole, strict=True))
        at += n
    assert at == 10 * BATCH
    for i in range(-FIRST % BATCH, at, BATCH):
        for k in (i - 1, i, i + 1):
            assert whole[0][k].tobytes() == _hash(q[k].tobytes(), FIRST + k, nbytes)


def test_no_batch_answers_a_guess_made_for_another() -> None:
    """A key not chosen tests a guess of Delta: at v = pi(x) ^ index, pi(v) ^ v is the key and its index."""
    batches, parts = 12, 3
    delta, q, t, c = _cots(batches * BATCH)
    k0, k1 = sender_keys(q, delta, TWEAK, 0, 16 * parts)
    places = [(batch, part) for batch in range(batches) for part in range(parts)]
    everyones = [_permutation(*place) for place in places]
    for batch, part in places:
        i = batch * BATCH + 5 + 64 * batch
        x = _number((t[i] ^ delta[0]).tobytes())
        other = (k0 if c[i] else k1)[i, 16 * part : 16 * part + 16]
        index = i | part << 64
        v = _permutation(batch, 0)(x) ^ index
        fits = [pi(v) ^ v == _number(other.tobytes()) ^ index for pi in everyones]
        assert fits == [place == (batch, part) for place in places]


def test_sessions_hash_equal_blocks_to_unrelated_keys() -> None:
    _, q, _, _ = _cots()
    one, other = (receiver_keys(q, hash_tweak(tag), 0, 16) for tag in (b"a" * 16, b"b" * 16))
    assert (one != other).any(axis=1).all()


def test_both_aes_paths_give_the_same_keys() -> None:
    if not _ot.has_wide_aes():
        pytest.skip("this processor has no VAES")
    _, q, _, _ = _cots()
    wide = receiver_keys(q, TWEAK, 9, 24)
    before = _ot.set_wide_aes(False)
    narrow = receiver_keys(q, TWEAK, 9, 24)
    _ot.set_wide_aes(before)
    assert (wide == narrow).all()


def test_choice_bits_are_the_lowest_bits() -> None:
    _, q, t, c = _cots()
    assert (choice_bits(t) == c).all()
    assert not choice_bits(q).any()
    assert choice_bits(t[:0]).shape == (0,)


def test_no_cots_give_no_keys() -> None:
    _, q, _, _ = _cots()
    assert receiver_keys(q[:0], TWEAK, 0, 16).shape == (0, 16)


def test_wrong_arguments_are_refused() -> None:
    delta, q, _, _ = _cots()
    with pytest.raises(ValueError, match=r"\(n, 2\)"):
        receiver_keys(np.zeros((4, 3), np.uint64), TWEAK, 0, 16)
    with pytest.raises(ValueError, match="1 to 2"):
        receiver_keys(q, TWEAK, 0, 0)
    with pytest.raises(ValueError, match="lowest bit"):
        sender_keys(q, delta - np.uint64(1), TWEAK, 0, 16)
    with pytest.raises(ValueError, match="one block"):
        sender_keys(q, q, TWEAK, 0, 16)
    with pytest.raises(ValueError, match="below 2"):
        receiver_keys(q, TWEAK, 2**64 - 5, 16)
    with pytest.raises(ValueError, match="16 bytes"):
        receiver_keys(q, TWEAK[:8], 0, 16)
