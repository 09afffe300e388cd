from __future__ import annotations

import numpy as np
import pytest
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

from ppc.runtime import _ot
from ppc.runtime.ot.keys import choice_bits, receiver_keys, sender_keys

PI = bytes.fromhex("243f6a8885a308d313198a2e03707344")
N, FIRST = 300, 2**32 - 7


def _cots(n: int = N) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Delta, q, t, c."""
    rng = np.random.default_rng(5)
    words = rng.integers(0, 2**64, (n + 1, 2), dtype=np.uint64)
    one = np.array([1, 0], np.uint64)
    delta, q = words[:1] | one, words[1:] & ~one
    c = rng.integers(0, 2, n).astype(np.uint64)
    return delta, q, q ^ c[:, None] * delta, c


def _hash(block: bytes, index: int, nbytes: int) -> bytes:
    """TMMO written with the cryptography package."""
    pi = Cipher(algorithms.AES(PI), modes.ECB()).encryptor()
    inner = int.from_bytes(pi.update(block), "little")
    out = b""
    for j in range(-(-nbytes // 16)):
        tweaked = (inner ^ index ^ j << 64).to_bytes(16, "little")
        out += (int.from_bytes(pi.update(tweaked), "little") ^ inner).to_bytes(16, "little")
    return out[:nbytes]


@pytest.mark.parametrize("nbytes", [1, 2, 3, 8, 15, 16, 17, 31, 32, 50])
def test_keys_agree_with_the_definition_and_with_each_other(nbytes: int) -> None:
    delta, q, t, c = _cots()
    k0, k1 = sender_keys(q, delta, FIRST, nbytes)
    k = receiver_keys(t, FIRST, nbytes)
    assert k.shape == k0.shape == k1.shape == (N, nbytes)
    assert (k == np.where(c[:, None] == 1, k1, k0)).all()
    for i in (0, 1, 63, 64, N - 1):
        assert k[i].tobytes() == _hash(t[i].tobytes(), FIRST + i, nbytes)


def test_the_key_not_chosen_is_unrelated() -> None:
    delta, q, t, c = _cots(4000)
    k0, k1 = sender_keys(q, delta, 0, 4)
    other = np.where(c[:, None] == 1, k0, k1)
    apart = np.unpackbits(other ^ receiver_keys(t, 0, 4), axis=1).mean(axis=0)
    assert np.abs(apart - 0.5).max() < 0.05
    assert np.abs(np.unpackbits(k0 ^ k1, axis=1).mean(axis=0) - 0.5).max() < 0.05


def test_the_index_enters_the_hash() -> None:
    """Equal blocks under other indices give other keys; so do the blocks of one long key."""
    _, q, _, _ = _cots()
    same = np.repeat(q[:1], N, axis=0)
    keys = receiver_keys(same, 0, 32).reshape(2 * N, 16)
    assert len(np.unique(keys, axis=0)) == 2 * N
    assert (receiver_keys(q, 0, 16) != receiver_keys(q, 1, 16)).any(axis=1).all()


def test_both_aes_paths_give_the_same_keys() -> None:
    if not _ot.has_wide_aes():
        pytest.skip("this processor has no VAES")
    _, q, _, _ = _cots()
    wide = receiver_keys(q, 9, 24)
    before = _ot.set_wide_aes(False)
    narrow = receiver_keys(q, 9, 24)
    _ot.set_wide_aes(before)
    assert (wide == narrow).all()


def test_choice_bits_are_the_lowest_bits() -> None:
    _, q, t, c = _cots()
    assert (choice_bits(t) == c).all()
    assert not choice_bits(q).any()
    assert choice_bits(t[:0]).shape == (0,)


def test_no_cots_give_no_keys() -> None:
    _, q, _, _ = _cots()
    assert receiver_keys(q[:0], 0, 16).shape == (0, 16)


def test_wrong_arguments_are_refused() -> None:
    delta, q, _, _ = _cots()
    with pytest.raises(ValueError, match=r"\(n, 2\)"):
        receiver_keys(np.zeros((4, 3), np.uint64), 0, 16)
    with pytest.raises(ValueError, match="1 to 2"):
        receiver_keys(q, 0, 0)
    with pytest.raises(ValueError, match="lowest bit"):
        sender_keys(q, delta - np.uint64(1), 0, 16)
    with pytest.raises(ValueError, match="one block"):
        sender_keys(q, q, 0, 16)
    with pytest.raises(ValueError, match="below 2"):
        receiver_keys(q, 2**64 - 5, 16)
