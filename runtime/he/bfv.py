"""Two ends of the matrix product under HE: BFV keys and checks from SEAL, arithmetic from `_he`.

After Cheetah (eprint 2022/207), with the answers hidden from the one who holds the key, whatever it uploaded.
An answer (c0, c1) is a function of the upload, the switching keys and V, and then

    c1 + a·u + e      is sent rounded: an RLWE sample in the fresh ternary u and error e, whose a the server
                      chose, so that it looks uniform whatever c1 is
    c0 + b·u - q·S    is sent rounded, only where it carries results: S is a uniform fraction of 64 bits, so
                      that what is sent is uniform (distance 0) whatever c0 and b are

The client's share is its decryption, rounded to 2^ell, and the server's S, likewise rounded; they add up to
U·V but for the error that `noise` bounds. A simulator without V draws both parts uniformly. So all that a
client gets by a chosen public key, chosen switching keys or a chosen upload is a wrong sum of the shares: b
reaches c0 alone, and the rest c0 and c1 before they are hidden.

    client = HeClient()                      server = HeServer(seed)
    keys = client.add(sets, seed)            server.add(sets, keys)
    U, up = client.upload(product)           down = server.answer(product, up, V, mask)
    client.finish(product, down)             # U·V - share_of(mask, ell) mod 2^ell, within 2^spare units

The client's U is not chosen but found (`cipher`).
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import seal
from numpy.typing import NDArray

from ..base import wire
from ..base.errors import RangeFault
from ..base.prg import Prg
from ..base.ring import Fixed, Ring
from ..base.wire import Buffer
from .cipher import Residues, SecretKey, basis, packing, read_public, read_upload, reading_basis, words
from .packing import LANES, cut_results, into_lanes, join_results, pack_right, unpack_left
from .params import HeParams, context
from .product import Product, answer_bytes, public_key_bytes

Integers = NDArray[Any]
Upload = list[tuple[slice, Residues]]
"""The ciphertexts of a batch entry, part by part, with the inner indices that each covers."""


class HeClient:
    """Holds the secret keys: one fresh pair for each parameter set."""

    def __init__(self) -> None:
        self._prg = Prg()
        self._keys: dict[HeParams, SecretKey] = {}

    def __repr__(self) -> str:
        return f"HeClient({', '.join(map(str, self._keys))}, <secret>)"

    def install(self, key: SecretKey) -> None:
        """Use this key for its parameter set from now on."""
        self._keys[key.params] = key

    def add(self, sets: Iterable[HeParams], seed: bytes) -> bytes:
        """Make keys for these sets; their public keys under the server's seed, in order."""
        new = list(dict.fromkeys(sets))
        for params in new:
            self.install(SecretKey(params, seal.KeyGenerator(context(params)).secret_key()))
        return b"".join(self._keys[params].public(seed, self._prg) for params in new)

    def upload(self, product: Product) -> tuple[Ring, Iterator[bytes]]:
        """A uniform U mod 2^ell, (batch, m, k), and Enc(U) in parts of `upload_parts` bytes.

        U is filled in as the parts are taken.
        """
        u = np.zeros((product.batch, product.m, product.k), np.uint64)
        return u, self._parts(product, u)

    def _parts(self, product: Product, u: Ring) -> Iterator[bytes]:
        key = self._keys[product.params]
        for entry, inner in itertools.product(u, product.upload_steps()):
            span = _inner(product, inner)
            polys, part = key.upload(product, inner, self._prg)
            entry[:, span] = unpack_left(polys, product.tile, product.m, span.stop - span.start)
            yield part

    def finish(self, product: Product, parts: Iterable[Buffer]) -> Ring:
        """The client's share of U·V mod 2^ell, shape (batch, m, n), from the parts of the answer."""
        out = np.zeros((product.batch, product.m, product.n), np.uint64)
        for entry, part in zip(out, parts, strict=True):
            self._finish_entry(product, memoryview(part).cast("B"), entry)
        return out

    def _finish_entry(self, product: Product, data: memoryview, out: Ring) -> None:
        if data.nbytes != answer_bytes(product) // product.batch:
            raise ValueError(f"an answer of {data.nbytes} bytes does not belong to {product}")
        key, tile, bits = self._keys[product.params], product.tile, product.answer_bits
        degree, positions, at = product.params.degree, product.positions(), 0
        secret, reader = key.reading(bits), reading_basis(degree, bits)
        for unit in range(product.units):
            packs, cols = product.unit_packs(unit), product.unit_cols(unit)
            width, count = cols.stop - cols.start, product.row_tiles * packs
            first, second = product.unit_sizes(unit)
            c1 = wire.unpack(data[at : at + first], bits, count * degree).reshape(count, degree)
            at += first
            results = wire.unpack(data[at : at + second], product.result_bits, product.m * width)
            at += second
            results = results.reshape(product.m, width) << np.uint64(bits - product.result_bits)
            c0 = cut_results(results, tile, packs * product.fill).reshape(count, -1)
            slots = reader.decrypt(c1, c0, secret, bits, product.ell, positions)
            grid = slots.reshape(product.row_tiles, -1, tile.slots)
            out[:, cols] = join_results(grid, tile, product.m, width)


def share_of(mask: Ring, ell: int) -> Ring:
    """The server's share mod 2^ell of a product whose answer it hides by ``mask``, fractions of 64 bits."""
    return (mask + np.uint64(1 << (63 - ell))) >> np.uint64(64 - ell)


@dataclass(frozen=True, eq=False, repr=False)
class HeState:
    """A client's public keys under ``seed``: by parameter set the key, and the switching keys if any."""

    seed: bytes
    keys: tuple[tuple[HeParams, Residues, Residues | None], ...]


class HeServer:
    """Holds the client's public keys, made under ``seed``, and answers uploads."""

    def __init__(self, seed: bytes) -> None:
        self._seed = seed
        self._keys: dict[HeParams, Residues] = {}
        self._pack_keys: dict[HeParams, Residues] = {}

    def add(self, sets: Iterable[HeParams], public_keys: Buffer) -> None:
        """Read the client's public keys of these sets. Raises ValueError where they are malformed."""
        view, at = memoryview(public_keys).cast("B"), 0
        for params in dict.fromkeys(sets):
            size = public_key_bytes(params)
            key, switching = read_public(params, self._seed, view[at : at + size])
            self._keys[params] = key
            if switching is not None:
                self._pack_keys[params] = switching
            at += size
        if at != view.nbytes:
            raise ValueError(f"{view.nbytes} bytes of public keys where {at} were expected")

    @property
    def state(self) -> HeState:
        """From where another server may go on with this client."""
        keys = tuple((params, key, self._pack_keys.get(params)) for params, key in self._keys.items())
        return HeState(self._seed, keys)

    @staticmethod
    def resumed(state: HeState) -> HeServer:
        """One that goes on from there."""
        server = HeServer(state.seed)
        for params, key, switching in state.keys:
            server._keys[params] = key
            if switching is not None:
                server._pack_keys[params] = switching
        return server

    def __repr__(self) -> str:
        return f"HeServer({', '.join(map(str, self._keys))})"

    def answer(
        self,
        product: Product,
        parts: Iterable[Buffer],
        v: Integers,
        mask: Ring,
    ) -> Iterator[bytes]:
        """Enc(U·V - S), one part a batch entry, made as soon as that entry's upload is read.

        Args:
            parts: the upload, in the parts of `upload_parts`.
            v: (batch, k, n), signed integers of any width, or ring elements as uint64, which are centred.
            mask: (batch, m, n) uniform words: S in units of 2^-64 of the modulus. Never use it twice.

        Raises ValueError if an upload is malformed, RangeFault if a norm exceeds the product's ``norm_bits``.
        """
        _expect("V", v, (product.batch, product.k, product.n))
        _expect("mask", mask, (product.batch, product.m, product.n))
        source = iter(parts)
        for entry in range(product.batch):
            upload = self._read(product, source)
            made = []
            for unit in range(product.units):
                cols = product.unit_cols(unit)
                sums = self._sum(product, unit, upload, v[entry, :, cols])
                answers = self._packed(product, unit, sums)
                made += self._finished(product, unit, answers, mask[entry, :, cols])
            yield b"".join(made)

    def _read(self, product: Product, source: Iterator[Buffer]) -> Upload:
        """The upload of one batch entry."""
        upload = []
        for inner in product.upload_steps():
            try:
                data = next(source)
            except StopIteration:
                raise ValueError(f"the upload of {product} ends early") from None
            upload.append((_inner(product, inner), read_upload(product, inner, data)))
        return upload

    def _sum(self, product: Product, unit: int, upload: Upload, v: Integers) -> NDArray[np.float64]:
        """The sums of ct·pt of a unit, v being its columns of V."""
        sums, squares = _sums_of(product, unit), np.zeros(v.shape[1])
        for span, cipher in upload:
            right = _signed(product, v[span])
            squares += np.square(right).sum(axis=0)
            _accumulate(product, sums, cipher, right)
        _check_norms(product, squares)
        return sums

    def _packed(self, product: Product, unit: int, sums: Residues) -> Residues:
        """The sums of a unit as ciphertexts (row tiles·packs, 2, primes, N), centred coefficients."""
        params, packs, fill = product.params, product.unit_packs(unit), product.fill
        if fill == 1:
            return basis(params).collect(sums, packs)
        return packing(params, product.tile.inner).pack(sums, packs, fill, self._pack_keys[params])

    def _finished(self, product: Product, unit: int, answers: Residues, mask: Ring) -> list[Buffer]:
        """c1 and c0 of a unit as they are sent: hidden by an encryption of zero and by the mask."""
        params, bits = product.params, product.answer_bits
        rows, across = product.row_tiles, product.unit_packs(unit) * product.fill
        prg = Prg()  # its own, since several products may be answered at once
        noise = words(prg, len(answers), 2, params.degree)
        basis(params).rerandomise(answers, self._keys[params], noise)
        cut = cut_results(mask, product.tile, across).reshape(len(answers), -1)
        c1, c0 = basis(params).switch_down(answers, bits, product.result_bits, product.positions(), cut)
        results = join_results(c0.reshape(rows, across, -1), product.tile, product.m, mask.shape[1])
        return [wire.pack(c1, bits), wire.pack(results, product.result_bits)]


def _check_norms(product: Product, squares: NDArray[np.float64]) -> None:
    """What the bound on the noise needs: ``squares`` are the squared L2 norms of V's columns."""
    if squares.max() > 4.0**product.norm_bits * (1 + 1e-9):
        raise RangeFault(
            f"the server's matrix has a norm above 2^{product.norm_bits}, which the plan announced; "
            "its noise could reach bits that are kept"
        )


def _sums_of(product: Product, unit: int) -> NDArray[np.float64]:
    """Zeroed sums (primes, groups, N/S, row tiles, 2, S, 8) of a unit, on a cache line's boundary."""
    params, size = product.params, product.tile.block
    shape = (
        len(params.data_bits),
        product.unit_groups(unit),
        params.degree // size,
        product.row_tiles,
        2,
        size,
        LANES,
    )
    raw = np.zeros(int(np.prod(shape)) + LANES)
    skip = -(raw.ctypes.data // 8) % LANES
    return raw[skip : skip + raw.size - LANES].reshape(shape)


def _accumulate(
    product: Product,
    sums: NDArray[np.float64],
    cipher: NDArray[np.float64],
    right: NDArray[np.float64],
) -> None:
    tile = product.tile
    x = cipher.reshape(-1, product.row_tiles, *cipher.shape[1:])
    basis(product.params).accumulate(sums, x, into_lanes(pack_right(right, tile, tile.block), 1))


def _inner(product: Product, inner: slice) -> slice:
    """The inner indices that a run of inner tiles covers."""
    width = product.tile.inner
    return slice(inner.start * width, min(product.k, inner.stop * width))


def _signed(product: Product, x: Integers) -> NDArray[np.float64]:
    if x.dtype == np.uint64:
        x = Fixed(product.ell).signed(x)
    return x.astype(np.float64)


def _expect(name: str, x: Integers, shape: tuple[int, ...]) -> None:
    if x.shape != shape or x.dtype.kind not in "iu":
        raise ValueError(f"{name} must be integers of shape {shape}, not {x.dtype} of shape {x.shape}")
