"""The generator of all masks: what it is by definition, and that no bit of what it gives is left out."""

from __future__ import annotations

import os

import numpy as np
import pytest
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

from ppc.runtime.base.prg import SEED_BYTES, Prg


def test_it_is_aes_in_counter_mode() -> None:
    seed = bytes(range(16))
    stream = Cipher(algorithms.AES(seed), modes.CTR(bytes(16))).encryptor().update(bytes(100))
    prg = Prg(seed)
    assert b"".join(prg.bytes(n).tobytes() for n in (0, 1, 16, 83)) == stream


@pytest.mark.parametrize("bits", range(1, 65))
def test_every_bit_of_every_width_is_random(bits: int) -> None:
    """Each is one in about half of 4096 elements: nine standard deviations either way."""
    drawn = Prg().ring(bits, (64, 64))
    assert drawn.shape == (64, 64)
    ones = ((drawn[..., None] >> np.arange(64, dtype=np.uint64)) & np.uint64(1)).sum(axis=(0, 1))
    assert np.all(np.abs(ones[:bits].astype(int) - 2048) < 9 * 32)
    assert not ones[bits:].any()


def test_the_seed_is_the_operating_systems(monkeypatch: pytest.MonkeyPatch) -> None:
    seeds: list[int] = []
    real = os.urandom
    monkeypatch.setattr(os, "urandom", lambda n: seeds.append(n) or real(n))
    first, second = Prg().bytes(64), Prg().bytes(64)
    assert seeds == [16, 16]
    assert not np.array_equal(first, second)


def test_a_seed_of_another_size_is_refused() -> None:
    with pytest.raises(ValueError, match="16 bytes, not 8"):
        Prg(bytes(8))


def test_what_is_drawn_later_is_drawn_once() -> None:
    """It is the same whenever it is read, and no other's; until then it is a seed."""
    prg = Prg()
    first, second = (prg.later(37, (50, 20)) for _ in range(2))
    assert first.ring.shape == (50, 20)
    assert (first.ring == first.ring).all()
    assert (first.ring != second.ring).mean() > 0.99
    assert first.ring.max() >> np.uint64(36) == 1
    assert len(first.seed) == SEED_BYTES
    assert str(first.seed) not in repr(first)
