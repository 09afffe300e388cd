"""Ciphertexts on the wire: secret and public keys, encryptions of zero, and uploads of masks.

Keys and their checks are SEAL's (BFV), the arithmetic is that of `_he`. An upload encrypts a uniform matrix,
and the client takes whichever one the ciphertexts turn out to hold (`_he.upload`): since it may not be
chosen, its ell bits need not be sent, nor do low bits of c0 that the error of the product has room for.
"""

from __future__ import annotations

from functools import lru_cache
from hashlib import blake2b

import numpy as np
import seal
from numpy.typing import NDArray

from .._he import Basis, Packing
from ..base import wire
from ..base.prg import SEED_BYTES, Prg
from ..base.ring import Ring, packed_size
from ..base.wire import Buffer
from .packing import Tile
from .params import HeParams, reading_primes
from .product import Product

_SECRET_HEADER = 88  # SEAL's bytes before the coefficients of an uncompressed secret key

UPLOAD_WORDS = 3
"""64-bit words of an integer modulo q, in the native kernels."""

Residues = NDArray[np.float64]


def basis(params: HeParams) -> Basis:
    """The primes of q and their tables."""
    return _basis(params.degree, params.primes)


def key_basis(params: HeParams) -> Basis:
    """The same and the special prime, for switching keys."""
    return _basis(params.degree, params.all_primes)


@lru_cache(maxsize=64)
def packing(params: HeParams, stride: int) -> Packing:
    """What packs answers whose results stand ``stride`` apart."""
    return Packing(key_basis(params), stride)


def reading_basis(degree: int, bits: int) -> Basis:
    """What an answer of so many bits is decrypted in."""
    return _basis(degree, reading_primes(degree, bits))


@lru_cache(maxsize=64)
def _basis(degree: int, primes: tuple[int, ...]) -> Basis:
    return Basis(degree, list(primes))


def words(prg: Prg, *shape: int) -> Ring:
    """Uniform 64-bit words."""
    return prg.bytes(8 * int(np.prod(shape))).view(np.uint64).reshape(shape)


def mask_words(params: HeParams, prg: Prg, count: int) -> Ring:
    """What c1 of ``count`` ciphertexts is expanded from, on both sides."""
    return words(prg, count, len(params.data_bits), params.degree, 2)


def public_words(params: HeParams, seed: bytes) -> Ring:
    """What the polynomial a of the public key is expanded from: ``seed`` is the server's, so that no client
    chooses the a under which answers are hidden.
    """
    digest = blake2b(seed + repr(params).encode(), digest_size=SEED_BYTES, person=b"ppc public key").digest()
    return mask_words(params, Prg(digest), 1)


def _key_words(params: HeParams, seed: bytes) -> Ring:
    """The same for switching keys, of the client's own seed: they act on answers before these are hidden."""
    return words(Prg(seed), params.pack_keys, len(params.chain), params.degree, 2)


@lru_cache(maxsize=256)
def _free(tile: Tile, degree: int) -> tuple[NDArray[np.uint8], tuple[NDArray[np.intp], ...]]:
    """Where an upload has plaintext, and the places without and with it."""
    free = tile.free(degree)
    return free, tuple(np.flatnonzero(free == each) for each in (0, 1))


class SecretKey:
    """A SEAL secret key, and its NTT form modulo the primes of q."""

    def __init__(self, params: HeParams, key: seal.SecretKey) -> None:
        self.params = params
        rows = np.frombuffer(key.to_string(), np.uint64, offset=_SECRET_HEADER).reshape(-1, params.degree)
        rows = np.ascontiguousarray(rows[: len(params.primes)])
        low = basis(params).transform(rows[None], inverse=True)[0, 0].astype(np.int64)
        self._ternary = np.where(low > 1, -1, low)
        self.ntt = self._in(params.primes, basis(params))

    def __repr__(self) -> str:
        return f"SecretKey({self.params}, <secret>)"

    def _in(self, primes: tuple[int, ...], to: Basis) -> Residues:
        """The key's NTT form modulo some primes, centred residues (primes, N)."""
        moduli = np.array(primes, np.int64)[:, None]
        rows = (self._ternary % moduli).astype(np.uint64)
        out = to.transform(rows[None])[0].astype(np.int64)
        centred: Residues = np.where(out > moduli // 2, out - moduli, out).astype(np.float64)
        return centred

    def reading(self, bits: int) -> Residues:
        """The key as `reading_basis` takes it."""
        degree = self.params.degree
        return self._in(reading_primes(degree, bits), reading_basis(degree, bits))

    def public(self, seed: bytes, prg: Prg) -> bytes:
        """An encryption of zero, and the keys that packing needs: `public_key_bytes` bytes.

        ``seed`` is the server's, see `public_words`.
        """
        params = self.params
        noise = words(prg, 1, params.degree)
        c0 = basis(params).encrypt_zero(noise, public_words(params, seed), self.ntt)
        parts = _packed(c0, params.data_bits)
        if params.pack_keys:
            own = prg.bytes(SEED_BYTES).tobytes()
            noise = words(prg, params.pack_keys, params.degree)
            whole = self._in(params.all_primes, key_basis(params))
            c0 = key_basis(params).encrypt_zero(noise, _key_words(params, own), whole)
            moduli = np.array(params.all_primes, np.uint64)[:, None, None]
            parts += [own, *_packed((c0 + self._turned()) % moduli, params.chain)]
        return b"".join(bytes(part) for part in parts)

    def upload(self, product: Product, inner: slice, prg: Prg) -> tuple[Ring, bytes]:
        """One part of a uniform matrix as polynomials (k tiles, m tiles, N), and its encryption."""
        params, shape = self.params, (inner.stop - inner.start, product.row_tiles, self.params.degree)
        count = shape[0] * shape[1]
        free, places = _free(product.tile, params.degree)
        even = False
        while not even:  # once, but for what `Product.redrawn` says
            seed = prg.bytes(SEED_BYTES).tobytes()
            public = Prg(seed)
            raw = mask_words(params, public, count)
            even, plain, said = basis(params).upload(
                free, product.ell, product.drop, public.ring(product.ell, (count, params.degree)),
                words(prg, count, params.degree), raw, self.ntt,
            )  # fmt: skip
        parts: list[Buffer] = [seed]
        for masked, word, bits, _ in product.part_words(inner):
            parts.append(wire.pack(np.ascontiguousarray(said[word][:, places[masked]]), bits))
        return plain.reshape(shape), b"".join(parts)

    def _turned(self) -> Ring:
        """What the switching keys hide, (primes of q and the special one, keys, N).

        Key (level s, prime i of q): special·s(X^(N/2^s + 1)) modulo prime i, 0 modulo the others.
        """
        params = self.params
        degree, special = params.degree, params.all_primes[-1]
        out = np.zeros((params.pack_keys, len(params.chain), degree), np.uint64)
        for level in range(params.pack_levels):
            to = np.arange(degree) * ((degree >> level) + 1) % (2 * degree)
            turned = np.zeros(degree, np.int64)
            turned[to % degree] = np.where(to < degree, self._ternary, -self._ternary)
            for i, p in enumerate(params.primes):
                factor = special % p
                row = level * len(params.primes) + i
                out[row, i] = np.where(turned > 0, factor, np.where(turned < 0, p - factor, 0))
        return key_basis(params).transform(out).transpose(1, 0, 2)


def _packed(c0: Ring, sizes: tuple[int, ...]) -> list[Buffer]:
    """c0 (primes, count, N) by primes."""
    return [wire.pack(part, bits) for part, bits in zip(c0, sizes, strict=True)]


def read_public(params: HeParams, seed: bytes, data: Buffer) -> tuple[Residues, Residues | None]:
    """What `SecretKey.public` wrote: (2, primes, N), and switching keys (levels, primes of q, 2, primes, N).

    Centred residues in NTT form. Raises ValueError if the data has the wrong size or a residue exceeds its
    modulus.
    """
    view = memoryview(data).cast("B")
    one = sum(packed_size(params.degree, bits) for bits in params.data_bits)
    key = _read_zeros(basis(params), params.data_bits, view[:one], public_words(params, seed))[0]
    if not params.pack_keys:
        return key, None
    raw = _key_words(params, bytes(view[one : one + SEED_BYTES]))
    keys = _read_zeros(key_basis(params), params.chain, view[one + SEED_BYTES :], raw)
    return key, keys.reshape(params.pack_levels, -1, *keys.shape[1:])


def _read_zeros(to: Basis, sizes: tuple[int, ...], view: memoryview, raw: Ring) -> Residues:
    count, at, parts = len(raw), 0, []
    for bits in sizes:
        size = packed_size(count * to.degree, bits)
        parts.append(wire.unpack(view[at : at + size], bits, count * to.degree))
        at += size
    if at != view.nbytes:
        raise ValueError(f"{view.nbytes} bytes cannot be {count} encryptions of zero")
    return to.ciphertexts(np.stack(parts).reshape(len(sizes), count, to.degree), raw)


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
