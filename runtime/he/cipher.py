"""Ciphertexts on the wire: secret and public keys, seeded encryptions, and uploads of masks.

Keys and their checks are SEAL's (BFV), the arithmetic is that of `_he`. An upload encrypts a uniform matrix,
and the client takes whichever one the ciphertexts turn out to hold (`_he.upload`): since it may not be
chosen, its ell bits need not be sent, nor do low bits of c0 that flooding drowns.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import seal
from numpy.typing import NDArray

from .._he import Basis
from ..base import wire
from ..base.prg import SEED_BYTES, Prg
from ..base.ring import Ring, packed_size
from ..base.wire import Buffer
from .packing import Tile
from .params import HeParams
from .product import Product

_SECRET_HEADER = 88  # SEAL's bytes before the coefficients of an uncompressed secret key

UPLOAD_WORDS = 3
"""64-bit words of an integer modulo q, in the native kernels."""

Residues = NDArray[np.float64]


@lru_cache(maxsize=32)
def basis(params: HeParams) -> Basis:
    """The primes of q and their tables."""
    return Basis(params.degree, list(params.primes))


@lru_cache(maxsize=32)
def kept_basis(params: HeParams) -> Basis:
    """The basis of q', in which packed answers live."""
    return Basis(params.degree, list(params.kept))


def words(prg: Prg, *shape: int) -> Ring:
    """Uniform 64-bit words."""
    return prg.bytes(8 * int(np.prod(shape))).view(np.uint64).reshape(shape)


def mask_words(params: HeParams, prg: Prg, count: int) -> Ring:
    """What c1 of ``count`` ciphertexts is expanded from, on both sides."""
    return words(prg, count, len(params.data_bits), params.degree, 2)


@lru_cache(maxsize=256)
def _free(tile: Tile, degree: int) -> tuple[NDArray[np.uint8], tuple[NDArray[np.intp], ...]]:
    """Where an upload has plaintext, and the places without and with it."""
    free = tile.free(degree)
    return free, tuple(np.flatnonzero(free == each) for each in (0, 1))


class SecretKey:
    """A SEAL secret key, and its NTT form modulo the data primes."""

    def __init__(self, params: HeParams, key: seal.SecretKey) -> None:
        self.params = params
        rows = np.frombuffer(key.to_string(), np.uint64, offset=_SECRET_HEADER).reshape(-1, params.degree)
        primes = np.array(params.primes, np.uint64)[:, None]
        rows = rows[: len(primes)]
        values = np.where(rows > primes // np.uint64(2), rows - primes, rows)
        self.ntt = np.ascontiguousarray(values.view(np.int64).astype(np.float64))

    def __repr__(self) -> str:
        return f"SecretKey({self.params}, <secret>)"

    def encrypt_zero(self, count: int, prg: Prg, extra: Ring | None = None) -> list[Buffer]:
        """Seeded symmetric encryptions of zero: a seed, then c0 by primes.

        ``extra`` (primes, count, N), residues in NTT form, is added to c0.
        """
        seed = prg.bytes(SEED_BYTES).tobytes()
        noise = words(prg, count, self.params.degree)
        c0 = basis(self.params).encrypt_zero(noise, mask_words(self.params, Prg(seed), count), self.ntt)
        if extra is not None:
            c0 = (c0 + extra) % np.array(self.params.primes, np.uint64)[:, None, None]
        return [seed, *(wire.pack(part, bits) for part, bits in zip(c0, self.params.data_bits, strict=True))]

    def public(self, prg: Prg) -> bytes:
        """A seeded encryption of zero, and the keys that packing needs: `public_key_bytes` bytes."""
        parts = self.encrypt_zero(1, prg)
        if self.params.pack_keys:
            parts += self.encrypt_zero(self.params.pack_keys, prg, self._turned_keys())
        return b"".join(bytes(part) for part in parts)

    def upload(self, product: Product, inner: slice, prg: Prg) -> tuple[Ring, bytes]:
        """One part of a uniform matrix as polynomials (k tiles, m tiles, N), and its encryption."""
        params, shape = self.params, (inner.stop - inner.start, product.row_tiles, self.params.degree)
        count = shape[0] * shape[1]
        seed = prg.bytes(SEED_BYTES).tobytes()
        free, places = _free(product.tile, params.degree)
        public = Prg(seed)
        raw = mask_words(params, public, count)
        plain, said = basis(params).upload(
            free, product.ell, product.drop, public.ring(product.ell, (count, params.degree)),
            words(prg, count, params.degree), raw, self.ntt,
        )  # fmt: skip
        parts: list[Buffer] = [seed]
        for masked, word, bits, _ in product.part_words(inner):
            parts.append(wire.pack(np.ascontiguousarray(said[word][:, places[masked]]), bits))
        return plain.reshape(shape), b"".join(parts)

    def _turned_keys(self) -> Ring:
        """What the switching keys hide, (primes, keys, N).

        Key (level s, kept prime i, digit d): p_last·2^(24·d)·s(X^(N/2^s + 1)) modulo prime i, 0 modulo
        the others.
        """
        params = self.params
        degree, count, primes = params.degree, len(params.primes), params.primes
        first = (self.ntt.astype(np.int64) % np.array(primes)[:, None]).astype(np.uint64)
        low = basis(params).transform(first[None], inverse=True)[0, 0].astype(np.int64)
        secret = np.where(low > 1, -1, low)  # ternary
        parts, digit_bits = params.gadget
        out = np.zeros((params.pack_keys, count, degree), np.uint64)
        row = 0
        for level in range(params.pack_levels):
            to = np.arange(degree) * ((degree >> level) + 1) % (2 * degree)
            turned = np.zeros(degree, np.int64)
            turned[to % degree] = np.where(to < degree, secret, -secret)
            for i, p in enumerate(params.kept):
                for digit in range(parts):
                    factor = primes[-1] * (1 << (digit_bits * digit)) % p
                    out[row, i] = np.where(turned > 0, factor, np.where(turned < 0, p - factor, 0))
                    row += 1
        return basis(params).transform(out).transpose(1, 0, 2)


def read_ciphertexts(params: HeParams, data: Buffer, count: int) -> NDArray[np.float64]:
    """What `SecretKey.encrypt_zero` wrote: (count, 2, primes, N) centred residues in NTT form.

    Raises ValueError if the data has the wrong size or a residue exceeds its modulus.
    """
    view = memoryview(data).cast("B")
    sizes = [packed_size(count * params.degree, bits) for bits in params.data_bits]
    if view.nbytes != SEED_BYTES + sum(sizes):
        raise ValueError(f"{view.nbytes} bytes cannot be {count} ciphertexts of {params}")
    seed = bytes(view[:SEED_BYTES])
    parts, at = [], SEED_BYTES
    for size, bits in zip(sizes, params.data_bits, strict=True):
        parts.append(wire.unpack(view[at : at + size], bits, count * params.degree))
        at += size
    c0 = np.stack(parts).reshape(len(sizes), count, params.degree)
    return basis(params).ciphertexts(c0, mask_words(params, Prg(seed), count))


def read_upload(product: Product, inner: slice, data: Buffer) -> NDArray[np.float64]:
    """What `SecretKey.upload` wrote: (count, 2, primes, N) centred residues in NTT form.

    Raises ValueError if the data has the wrong size.
    """
    params, count = product.params, (inner.stop - inner.start) * product.row_tiles
    view, layout = memoryview(data).cast("B"), product.part_words(inner)
    if view.nbytes != product.part_bytes(inner):
        raise ValueError(f"{view.nbytes} bytes cannot be {count} ciphertexts of {product}")
    public, at = Prg(bytes(view[:SEED_BYTES])), SEED_BYTES
    raw = mask_words(params, public, count)
    offset = public.ring(product.ell, (count, params.degree))
    free, places = _free(product.tile, params.degree)
    said = np.zeros((UPLOAD_WORDS, count, params.degree), np.uint64)
    for masked, word, bits, size in layout:
        here = places[masked]
        said[word][:, here] = wire.unpack(view[at : at + size], bits, count * len(here)).reshape(count, -1)
        at += size
    return basis(params).read_upload(free, product.ell, product.drop, offset, said, raw)
