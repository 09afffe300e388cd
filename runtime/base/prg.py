"""Secret randomness: seeds from the operating system, expanded by AES-128 in counter mode."""

from __future__ import annotations

import os
from dataclasses import dataclass
from math import prod

import numpy as np
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from numpy.typing import NDArray

from .ring import Ring

SEED_BYTES = 16


class Prg:
    """A stream of pseudo-random bytes. A fresh seed comes from ``os.urandom``."""

    def __init__(self, seed: bytes | None = None) -> None:
        key = os.urandom(SEED_BYTES) if seed is None else seed
        if len(key) != SEED_BYTES:
            raise ValueError(f"a seed has {SEED_BYTES} bytes, not {len(key)}")
        self._stream = Cipher(algorithms.AES(key), modes.CTR(bytes(16))).encryptor()

    def __repr__(self) -> str:
        return "Prg(<secret>)"

    def bytes(self, count: int) -> NDArray[np.uint8]:
        out = np.empty(count + SEED_BYTES - 1, np.uint8)  # `update_into` wants room for a block more
        if count:
            self._stream.update_into(np.zeros(count, np.uint8).data, out.data)
        return out[:count]

    def ring(self, bits: int, shape: tuple[int, ...]) -> Ring:
        """Uniform elements of Z/2^bits, shape ``shape``."""
        count = prod(shape)
        width = 1 if bits <= 8 else 2 if bits <= 16 else 4 if bits <= 32 else 8
        raw = self.bytes(count * width).view(f"<u{width}")
        return (raw.astype(np.uint64) & np.uint64((1 << bits) - 1)).reshape(shape)

    def later(self, bits: int, shape: tuple[int, ...]) -> Drawn:
        """The same, of which only a seed is there until they are wanted."""
        return Drawn(self.bytes(SEED_BYTES).tobytes(), bits, shape)


@dataclass(frozen=True, repr=False)
class Drawn:
    """Uniform elements of Z/2^bits that are expanded where they are read: what waits for long is a seed."""

    seed: bytes
    bits: int
    shape: tuple[int, ...]

    @property
    def ring(self) -> Ring:
        return Prg(self.seed).ring(self.bits, self.shape)
