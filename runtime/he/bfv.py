"""Two ends of the matrix product under HE: BFV keys and checks from SEAL, arithmetic from `_he`.

After Cheetah (eprint 2022/207), with the answers protected against the one who holds the key: each gets a
fresh public-key encryption of zero, flooding 2^40 above the noise of the computation, and is then switched
from q to a power of two just large enough to decrypt. c0 is sent only where it carries results.

    client = HeClient(sets)                  server = HeServer(sets, client.public_keys())
    U, up = client.upload(product)           down = server.answer(product, up, V, S)
    client.finish(product, down)             # U·V - S mod 2^ell

The client's U is not chosen but found (`he_cipher`).
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import seal
from numpy.typing import NDArray

from ..base import wire
from ..base.errors import RangeFault
from ..base.prg import Prg
from ..base.ring import Fixed, Ring
from ..base.wire import Buffer
from .cipher import Residues, SecretKey, basis, kept_basis, read_ciphertexts, read_upload, words
from .packing import LANES, cut_results, into_lanes, join_results, pack_right, unpack_left
from .params import HeParams, context
from .product import Product, answer_bytes, public_key_bytes

Integers = NDArray[Any]
Upload = list[tuple[slice, Residues]]
"""The ciphertexts of a batch entry, part by part, with the inner indices that each covers."""


class HeClient:
    """Holds the secret keys: one fresh pair for each parameter set."""

    def __init__(self, sets: Iterable[HeParams] = ()) -> None:
        self._prg = Prg()
        self._keys: dict[HeParams, SecretKey] = {}
        for params in dict.fromkeys(sets):
            self._make(params)

    def _make(self, params: HeParams) -> None:
        self.install(SecretKey(params, seal.KeyGenerator(context(params)).secret_key()))

    def __repr__(self) -> str:
        return f"HeClient({', '.join(map(str, self._keys))}, <secret>)"

    def install(self, key: SecretKey) -> None:
        """Use this key for its parameter set from now on."""
        self._keys[key.params] = key

    def public_key(self, params: HeParams) -> bytes:
        """The public key of one set, `public_key_bytes` bytes."""
        return self._keys[params].public(self._prg)

    def public_keys(self) -> bytes:
        """The public keys of all sets, in order."""
        return b"".join(self.public_key(params) for params in self._keys)

    def add(self, sets: Iterable[HeParams]) -> bytes:
        """Make keys for more sets; their public keys, in order."""
        new = list(dict.fromkeys(sets))
        for params in new:
            self._make(params)
        return b"".join(self.public_key(params) for params in new)

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
        """U·V - S mod 2^ell, shape (batch, m, n), from the parts of the answer."""
        out = np.zeros((product.batch, product.m, product.n), np.uint64)
        for entry, part in zip(out, parts, strict=True):
            self._finish_entry(product, memoryview(part).cast("B"), entry)
        return out

    def _finish_entry(self, product: Product, data: memoryview, out: Ring) -> None:
        if data.nbytes != answer_bytes(product) // product.batch:
            raise ValueError(f"an answer of {data.nbytes} bytes does not belong to {product}")
        key, tile, bits = self._keys[product.params], product.tile, product.answer_bits
        degree, positions, at = product.params.degree, product.positions(), 0
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
            slots = basis(product.params).decrypt(c1, c0, key.ntt, bits, product.ell, positions)
            grid = slots.reshape(product.row_tiles, -1, tile.slots)
            out[:, cols] = join_results(grid, tile, product.m, width)


class HeServer:
    """Holds the client's public keys and answers uploads."""

    def __init__(self, sets: Iterable[HeParams] = (), public_keys: Buffer = b"") -> None:
        self._keys: dict[HeParams, NDArray[np.float64]] = {}
        self._pack_keys: dict[HeParams, NDArray[np.float64]] = {}
        self.add(sets, public_keys)

    def add(self, sets: Iterable[HeParams], public_keys: Buffer) -> None:
        """Read the client's public keys of these sets. Raises ValueError where they are malformed."""
        view, at = memoryview(public_keys).cast("B"), 0
        for params in dict.fromkeys(sets):
            size, head = public_key_bytes(params), public_key_bytes(replace(params, pack_levels=0))
            self._keys[params] = read_ciphertexts(params, view[at : at + head], 1)[0]
            if params.pack_keys:
                keys = read_ciphertexts(params, view[at + head : at + size], params.pack_keys)
                self._pack_keys[params] = keys.reshape(params.pack_levels, -1, *keys.shape[1:])
            at += size
        if at != view.nbytes:
            raise ValueError(f"{view.nbytes} bytes of public keys where {at} were expected")

    def __repr__(self) -> str:
        return f"HeServer({', '.join(map(str, self._keys))})"

    def answer(
        self,
        product: Product,
        parts: Iterable[Buffer],
        v: Integers,
        s: Ring,
    ) -> Iterator[bytes]:
        """Enc(U·V - S), one part a batch entry, made as soon as that entry's upload is read.

        Args:
            parts: the upload, in the parts of `upload_parts`.
            v: (batch, k, n), signed integers of any width, or ring elements as uint64, which are centred.
            s: (batch, m, n) uniform mod 2^ell: the server's share of the result. Never use it twice.

        Raises ValueError if an upload is malformed, RangeFault if a norm exceeds the product's ``norm_bits``.
        """
        sums = self._sums(product, parts, v, s)
        for _ in range(product.batch):
            units = zip(range(product.units), sums, strict=False)
            yield b"".join(part for unit, made in units for part in self._unit(product, unit, *made))

    def _sums(
        self, product: Product, parts: Iterable[Buffer], v: Integers, s: Ring
    ) -> Iterator[tuple[NDArray[np.float64], Ring]]:
        """For each unit of each batch entry the deterministic sums of ct·pt, and S in the answer's slots."""
        _expect("V", v, (product.batch, product.k, product.n))
        _expect("S", s, (product.batch, product.m, product.n))
        source = iter(parts)
        for entry in range(product.batch):
            upload = self._read(product, source)
            for unit in range(product.units):
                cols = product.unit_cols(unit)
                sums = self._sum(product, unit, upload, v[entry, :, cols])
                yield sums, _cut_mask(product, unit, s[entry, :, cols])

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

    def _rerandomised(self, product: Product, sums: NDArray[np.float64], group: int, mask: Ring) -> Residues:
        """Ciphertexts (row tiles·8, 2, primes, N) as they are before switching, centred residues."""
        (items, slots), prg = mask.shape, Prg()  # its own, since several products may be answered at once
        return basis(product.params).rerandomise(
            sums,
            group,
            self._keys[product.params],
            words(prg, items, 3, product.params.degree),
            words(prg, items, slots, 2),
            product.flood_bits,
            np.ascontiguousarray(mask),
            product.ell,
            product.tile.positions(),
        )

    def _unit(self, product: Product, unit: int, sums: NDArray[np.float64], mask: Ring) -> list[Buffer]:
        params, bits, cols = product.params, product.answer_bits, product.unit_cols(unit)
        rows, packs, fill = product.row_tiles, product.unit_packs(unit), product.fill
        answers = np.zeros((rows, product.unit, 2, len(params.primes), params.degree))
        for group in range(product.unit_groups(unit)):
            full = self._rerandomised(product, sums, group, mask[group])
            answers[:, group * LANES : (group + 1) * LANES] = full.reshape(rows, LANES, *full.shape[1:])
        answers = np.ascontiguousarray(answers[:, : packs * fill])
        if fill == 1:
            flat, to = answers.reshape(rows * packs, *answers.shape[2:]), basis(params)
        else:
            packed = answers.reshape(rows * packs, fill, *answers.shape[2:])
            keys = self._pack_keys[params]
            flat = basis(params).interleave(packed, product.tile.inner, params.gadget[1], keys)
            to = kept_basis(params)
        c1, c0 = to.switch_down(flat, bits, product.result_bits, product.positions())
        grid = c0.reshape(rows, packs * fill, product.tile.slots)
        results = join_results(grid, product.tile, product.m, cols.stop - cols.start)
        return [wire.pack(c1, bits), wire.pack(results, product.result_bits)]


def _check_norms(product: Product, squares: NDArray[np.float64]) -> None:
    """What the bound on the noise needs: ``squares`` are the squared L2 norms of V's columns."""
    if squares.max() > 4.0**product.norm_bits * (1 + 1e-9):
        raise RangeFault(
            f"the server's matrix has a norm above 2^{product.norm_bits}, which the plan announced; "
            "its noise would not be covered by the flooding"
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


def _cut_mask(product: Product, unit: int, s: Ring) -> Ring:
    """S of a unit's columns in the order of the sums: (groups, row tiles·8, rows·cols)."""
    tile, rows, groups = product.tile, product.row_tiles, product.unit_groups(unit)
    cut = cut_results(Fixed(product.ell).wrap(s), tile, groups * LANES)
    lanes = cut.reshape(rows, groups, LANES, tile.slots).swapaxes(0, 1)
    return np.ascontiguousarray(lanes).reshape(groups, rows * LANES, tile.slots)


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
