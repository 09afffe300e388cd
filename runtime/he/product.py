"""The offline matrix product under HE as public data: shapes, parameters, sizes, error and price.

    client -> server   Enc(U)              U (m, k) uniform mod 2^ell; less low bits that errors have room for
    server -> client   Enc(U·V - S)        S uniform, re-randomised, switched to a small modulus

Everything here is known to both sides and to the compiler before any data exists.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from math import ceil, log2

import numpy as np
from numpy.typing import NDArray

from ..base.prg import SEED_BYTES
from ..base.ring import packed_size
from ..party.ports import MatrixProduct
from .noise import (
    MOST_ANSWER_BITS,
    Meeting,
    answer_bits,
    error_bound,
    most_drop,
    noise_bound,
    packing_noise,
    room,
    units,
)
from .packing import LANES, Tile, tiles
from .params import HeParams, reading_primes

MAX_ELL = 48
"""Above, doubles no longer find the plaintext that an upload holds."""

MAX_BATCH = 4096
"""Each of them is messages of its own, of which a small plan could ask for any number."""

PART_CIPHERTEXTS = 32
PART_BYTES = 32 << 20
MOST_REDRAWN = 1 / 8
"""Share of the parts of an upload that may have to be drawn again (`_he.upload`)."""

MEMORY_BYTES = 512 << 20
"""Bound on what the server holds of a product."""

Work = dict[str, float]
"""Counts of work by name."""


@dataclass(frozen=True)
class Product(MatrixProduct):
    """``batch`` products U·V of (m, k)·(k, n) mod 2^ell, and how they are made under HE.

    Attributes:
        norm_bits: the L2 norm of every column of V, read as signed integers, is at most 2^norm_bits.
            Public; the server checks it and refuses to answer otherwise.
        spare: low bits of the product that nothing needs: the shares add up to U·V but for an error of at
            most 2^spare units, except with probability 2^-40 for all results together.
        fill: answers packed into one ciphertext, a power of two up to the tile's inner axis.

    Raises ValueError where the error could exceed that.
    """

    norm_bits: int
    spare: int
    tile: Tile
    params: HeParams
    fill: int = 1

    def __post_init__(self) -> None:
        if min(self.batch, self.m, self.k, self.n) < 1:
            raise ValueError(f"a product has no empty axis, not {self.batch}x{self.m}x{self.k}x{self.n}")
        if self.batch > MAX_BATCH:
            raise ValueError(f"{self.batch} products at once, more than {MAX_BATCH}")
        if not 1 <= self.ell <= MAX_ELL:
            raise ValueError(f"products are taken mod 2^1 to 2^{MAX_ELL}, not 2^{self.ell}")
        if not 0 <= self.norm_bits <= 64:
            raise ValueError(f"norm_bits must be 0 to 64, not {self.norm_bits}")
        if not 1 <= self.spare < self.ell:
            raise ValueError(f"spare must be 1 to {self.ell - 1} bits of {self.ell}, not {self.spare}")
        if self.tile.size > self.params.degree:
            raise ValueError(f"a tile of {self.tile} does not fit N = {self.params.degree}")
        if self.fill != 1:
            self._check_fill()
        if self.memory_bytes > MEMORY_BYTES:
            raise ValueError(
                f"tile {self.tile} needs {self.memory_bytes >> 20} MiB of ciphertexts and sums, "
                f"of which at most {MEMORY_BYTES >> 20} are given"
            )
        if self._answer_sizes is None:
            packed = f" and {self.fill} packed" if self.fill > 1 else ""
            error = units(self.params, self.ell, self.noise)
            raise ValueError(
                f"{self.params} cannot carry a product mod 2^{self.ell} with tile {self.tile}{packed}: "
                f"errors of 2^{log2(error):.1f} units and the switch to {MOST_ANSWER_BITS} bits at most, "
                f"where 2^{self.spare} units are harmless"
            )
        if self.redrawn > MOST_REDRAWN:
            raise ValueError(
                f"{self.params} leaves a remainder modulo 2^{self.ell} for which {self.redrawn:.0%} of "
                "uploads would be drawn again"
            )

    def _check_fill(self) -> None:
        inner = self.tile.inner
        if self.fill < 1 or self.fill & (self.fill - 1) or inner & (inner - 1) or self.fill > inner:
            raise ValueError(f"{self.fill} answers cannot be packed at a stride of {inner}")
        if inner.bit_length() - 1 > self.params.pack_levels:
            raise ValueError(f"{self.params} has no keys to pack at a stride of {inner}")

    def __str__(self) -> str:
        shape = f"{self.batch}x{self.m}x{self.k}x{self.n}"
        packed = f", {self.fill} packed" if self.fill > 1 else ""
        return f"U·V {shape} mod 2^{self.ell}, tile {self.tile}{packed}, {self.params}"

    # -- the grid of tiles

    @property
    def row_tiles(self) -> int:
        return tiles(self.m, self.tile.rows)

    @property
    def inner_tiles(self) -> int:
        return tiles(self.k, self.tile.inner)

    @property
    def col_tiles(self) -> int:
        return tiles(self.n, self.tile.cols)

    @property
    def groups(self) -> int:
        return tiles(self.col_tiles, LANES)

    # -- error

    @cached_property
    def drop(self) -> int:
        """Low bits of c0 that are not uploaded: as many as leave half of the room to the answer's switch."""
        most = room(self.spare) / 2 / units(self.params, self.ell, 1.0) - self._packing
        return most_drop(self.params, self.ell, self._meeting, most)

    @cached_property
    def _meeting(self) -> Meeting:
        meets = self.tile.cols
        return Meeting(2.0**self.norm_bits * meets**0.5, meets * self.k, self._results)

    @cached_property
    def _packing(self) -> float:
        return packing_noise(self.params, self.fill, self._results)

    @cached_property
    def noise(self) -> float:
        """The bound on that of product, encryption of zero and packing, in units of 1 modulo q."""
        return noise_bound(self.params, self.ell, self._meeting, self.drop) + self._packing

    @property
    def error_bits(self) -> float:
        """log2 of the bound on the error of the shares, in units of the product; at most `spare`."""
        sizes = (self.answer_bits, self.result_bits)
        return log2(error_bound(self.params, self.ell, self.noise, sizes, self._results))

    @cached_property
    def redrawn(self) -> float:
        """Chance that a part of the upload holds what belongs to no plaintext, and is drawn again."""
        q = self.params.q
        masked = min(self.inner_tiles, self._step) * self.row_tiles * self.tile.rows * self.tile.inner
        return masked * (q % (1 << self.ell) / q)

    @property
    def answer_bits(self) -> int:
        """Bits of a coefficient of the answer's c1: its modulus is 2^answer_bits."""
        assert self._answer_sizes is not None
        return self._answer_sizes[0]

    @property
    def result_bits(self) -> int:
        """Bits that are sent of a coefficient of the answer's c0."""
        assert self._answer_sizes is not None
        return self._answer_sizes[1]

    @cached_property
    def _answer_sizes(self) -> tuple[int, int] | None:
        left = room(self.spare) - units(self.params, self.ell, self.noise)
        kept = self._results / (self.answer_ciphertexts * self.params.degree)
        return answer_bits(self.params, self.ell, left, self._results, kept)

    @property
    def _results(self) -> int:
        return self.batch * self.m * self.n

    # -- counts

    @property
    def upload_ciphertexts(self) -> int:
        return self.batch * self.inner_tiles * self.row_tiles

    @property
    def plain_tiles(self) -> int:
        """Plaintext polynomials that the server transforms."""
        return self.batch * self.inner_tiles * self.col_tiles

    @property
    def answer_tiles(self) -> int:
        """Results of a tile product."""
        return self.batch * self.row_tiles * self.col_tiles

    @property
    def answer_ciphertexts(self) -> int:
        """Ciphertexts sent: `answer_tiles` unless packed."""
        return self.batch * self.row_tiles * tiles(self.col_tiles, self.fill)

    @property
    def macs(self) -> int:
        """Multiply-accumulates mod one prime, both polynomials of a ciphertext counted, lanes filled up."""
        return self._lanes * self.inner_tiles * 2 * self.params.degree * len(self.params.data_bits)

    @property
    def butterflies(self) -> int:
        """Of the server's transforms mod one prime, lanes filled up."""
        stages = self.groups * LANES * (self.tile.block.bit_length() - 1)
        return self.batch * self.inner_tiles * stages * self.params.degree // 2 * len(self.params.data_bits)

    @property
    def _lanes(self) -> int:
        """Results of a tile product, lanes filled up."""
        return self.batch * self.row_tiles * self.groups * LANES

    def over_units(self, count: Callable[[int], int]) -> int:
        """The sum of what each unit of the answer has, all but the last having the same."""
        return self.batch * (count(0) * (self.units - 1) + count(self.units - 1))

    def _merges(self, unit: int) -> int:
        """Key switches of a unit, lanes filled up: level by level, each with half as many as the last."""
        packs = self.row_tiles * self.unit_packs(unit)
        return sum(LANES * tiles(packs << level, LANES) for level in range(self.fill.bit_length() - 1))

    @cached_property
    def work(self) -> dict[str, Work]:
        """Of the client for the ``upload``, of the server for the ``answer``, of the client to ``finish``.

        Counted are entries of V (``weight``) and of U·V (``result``), butterflies and multiply-accumulates,
        and else coefficients mod one prime: of ciphertexts uploaded, of both their polynomials put in order
        for the sums of each unit (``arrange``), of sums made coefficients again (``collect``), of transforms
        that switch keys, of answers re-randomised and switched to their modulus, of transforms that decrypt.
        """
        primes, degree = len(self.params.data_bits), self.params.degree
        uploaded = self.upload_ciphertexts * primes * degree
        answers = self.over_units(lambda unit: LANES * tiles(self.row_tiles * self.unit_packs(unit), LANES))
        reading = len(reading_primes(degree, self.answer_bits))
        return {
            "upload": {"encrypt": uploaded},
            "answer": {
                "expand": uploaded,
                "arrange": self.units * uploaded * 2,
                "weight": self.batch * self.k * self.n,
                "butterfly": self.butterflies,
                "he_mac": self.macs,
                "collect": self._lanes * 2 * primes * degree,
                "key_switch": self.over_units(self._merges) * (primes + 1) ** 2 * degree,
                "rerandomise": answers * 2 * primes * degree,
                "switch_down": self.answer_ciphertexts * primes * degree,
            },
            "finish": {"decrypt": answers * reading * degree, "result": self._results},
        }

    @property
    def memory_bytes(self) -> int:
        """The server's: the upload of one batch entry, and the sums and answers of one unit."""
        held = self.inner_tiles * self.row_tiles + 2 * self.row_tiles * max(
            LANES, min(self.unit, self.col_tiles)
        )
        return held * 2 * len(self.params.data_bits) * self.params.degree * 8

    # -- messages

    @property
    def _step(self) -> int:
        """Inner tiles in one part of the upload: few enough to stream."""
        width = self.groups * LANES * self.tile.block * 8
        return max(1, min(PART_CIPHERTEXTS // self.row_tiles, PART_BYTES // width))

    def upload_steps(self) -> Iterator[slice]:
        """The parts of the upload of a batch entry: a run of inner tiles each."""
        for first in range(0, self.inner_tiles, self._step):
            yield slice(first, min(first + self._step, self.inner_tiles))

    @cached_property
    def said_bits(self) -> tuple[int, int]:
        """Bits that are uploaded of a coefficient with a plaintext, and of one without."""
        return said_bits(self.params.q, self.ell, self.drop)

    def part_words(self, inner: slice) -> list[tuple[bool, int, int, int]]:
        """What a part of the upload holds after its seed: with plaintext or not, word, bits each, bytes."""
        count = (inner.stop - inner.start) * self.row_tiles
        masked = self.tile.rows * self.tile.inner
        return [
            (free, word, min(64, bits - 64 * word), packed_size(count * size, min(64, bits - 64 * word)))
            for free, bits, size in zip(
                (True, False), self.said_bits, (masked, self.params.degree - masked), strict=True
            )
            for word in range(tiles(bits, 64))
        ]

    def part_bytes(self, inner: slice) -> int:
        return SEED_BYTES + sum(size for *_, size in self.part_words(inner))

    @property
    def unit(self) -> int:
        """Column tiles that are answered together: whole lanes and whole packs."""
        return LANES if self.fill == 1 else max(64, self.fill)

    @property
    def units(self) -> int:
        return tiles(self.col_tiles, self.unit)

    def unit_groups(self, unit: int) -> int:
        """Eights of column tiles in a unit."""
        return tiles(min(self.unit, self.col_tiles - unit * self.unit), LANES)

    def unit_packs(self, unit: int) -> int:
        """Ciphertexts of each row tile in a unit of the answer."""
        return tiles(min(self.unit, self.col_tiles - unit * self.unit), self.fill)

    def unit_cols(self, unit: int) -> slice:
        """The columns of the result that a unit of the answer carries."""
        width = self.unit * self.tile.cols
        return slice(unit * width, min(self.n, (unit + 1) * width))

    def unit_sizes(self, unit: int) -> tuple[int, int]:
        """Bytes of a unit of the answer: c1 of its ciphertexts, then c0 at the results."""
        cols = self.unit_cols(unit)
        c1 = self.row_tiles * self.unit_packs(unit) * self.params.degree
        c0 = self.m * (cols.stop - cols.start)
        return packed_size(c1, self.answer_bits), packed_size(c0, self.result_bits)

    def positions(self) -> NDArray[np.uint32]:
        """Where a ciphertext of the answer holds its results: (fill·rows·cols,), tile by tile."""
        base = self.tile.positions()
        if self.fill == 1:
            return base
        steps = np.arange(self.fill, dtype=np.uint32)[:, None] * np.uint32(self.tile.inner // self.fill)
        return (base - np.uint32(self.tile.inner - 1) + steps).ravel()


def upload_parts(product: Product) -> list[int]:
    """Bytes of each part of the upload, in order."""
    return [product.part_bytes(inner) for inner in product.upload_steps()] * product.batch


def answer_parts(product: Product) -> list[int]:
    """Bytes of each part of the answer, one a batch entry."""
    return [answer_bytes(product) // product.batch] * product.batch


def upload_bytes(product: Product) -> int:
    step, count = product._step, product.inner_tiles
    last = count - (tiles(count, step) - 1) * step
    whole = (tiles(count, step) - 1) * product.part_bytes(slice(0, step))
    return product.batch * (whole + product.part_bytes(slice(0, last)))


def answer_bytes(product: Product) -> int:
    return product.over_units(lambda unit: sum(product.unit_sizes(unit)))


def said_bits(q: int, ell: int, drop: int) -> tuple[int, int]:
    """Bits of a coefficient below q/2^ell and of one below q, the low ``drop`` of them left out."""
    return ((((q >> ell) + 1) >> drop) + 1).bit_length(), ((q >> drop) + 1).bit_length()


def public_key_bytes(params: HeParams) -> int:
    """Bytes of the public key of one parameter set, switching keys included; sent once a connection."""
    one, switching = (params.degree * sum(bits) // 8 for bits in (params.data_bits, params.chain))
    return one + (SEED_BYTES + switching * params.pack_keys if params.pack_keys else 0)


def parameter_sets(products: Iterable[Product]) -> list[HeParams]:
    """The parameter sets, hence key pairs, that these products need, without repetition."""
    return list(dict.fromkeys(product.params for product in products))


def uniform_norm_bits(value_bits: int, k: int) -> int:
    """norm_bits of k entries of which nothing is known but that they are signed value_bits-bit integers."""
    return ceil(value_bits - 1 + log2(k) / 2)
