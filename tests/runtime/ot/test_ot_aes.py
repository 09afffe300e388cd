"""The AES of `runtime/native/aes.h` against FIPS-197 and the cryptography package, on both paths."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

from ppc.runtime import _ot


@pytest.fixture(params=[False, True], ids=["aes-ni", "vaes"])
def _path(request: pytest.FixtureRequest) -> Iterator[None]:
    if request.param and not _ot.has_wide_aes():
        pytest.skip("this processor has no VAES")
    before = _ot.set_wide_aes(request.param)
    yield
    _ot.set_wide_aes(before)


def _bytes(text: str) -> np.ndarray:
    return np.frombuffer(bytes.fromhex(text), np.uint8)


@pytest.mark.usefixtures("_path")
def test_fips_197_vector() -> None:
    key = _bytes("000102030405060708090a0b0c0d0e0f")
    plain = _bytes("00112233445566778899aabbccddeeff")
    assert _ot.aes_encrypt(key, plain).tobytes().hex() == "69c4e0d86a7b0430d8cdb78070b4c55a"


@pytest.mark.usefixtures("_path")
@pytest.mark.parametrize("count", [0, 1, 3, 4, 7, 8, 31, 32, 33, 70])
def test_every_tail_length_agrees_with_the_cryptography_package(count: int) -> None:
    rng = np.random.default_rng(count)
    key, data = rng.bytes(16), rng.bytes(16 * count)
    theirs = Cipher(algorithms.AES(key), modes.ECB()).encryptor().update(data)
    ours = _ot.aes_encrypt(np.frombuffer(key, np.uint8), np.frombuffer(data, np.uint8))
    assert ours.tobytes() == theirs


@pytest.mark.usefixtures("_path")
@pytest.mark.parametrize("counter", [0, 250, 2**40 - 3])
def test_ctr_agrees_with_the_cryptography_package(counter: int) -> None:
    key = bytes(range(16))
    stream = Cipher(algorithms.AES(key), modes.CTR(counter.to_bytes(16, "big"))).encryptor()
    ours = _ot.aes_ctr(np.frombuffer(key, np.uint8), counter, 77)
    assert ours.tobytes() == stream.update(bytes(16 * 77))


def test_wrong_sizes_are_refused() -> None:
    key = np.zeros(16, np.uint8)
    with pytest.raises(ValueError, match="16 bytes"):
        _ot.aes_encrypt(key[:15], key)
    with pytest.raises(ValueError, match="16-byte blocks"):
        _ot.aes_encrypt(key, key[:15])
