"""Matrices as polynomials, after Cheetah (eprint 2022/207) and Iron (NeurIPS 2022).

A tile of ``rows x inner`` times ``inner x cols`` is one negacyclic product when rows·inner·cols <= N:

    x[i, k] at i·cols·inner + k,   w[k, j] at j·inner + inner-1-k,
    result (i, j) at i·cols·inner + j·inner + inner-1

Two terms k != k' meet at other residues mod ``inner``, and what wraps around X^N = -1 lands below
``inner - 1``, before the first result.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

LANES = 8
"""Polynomials that the native kernels carry side by side."""

Matrix = NDArray[Any]


@dataclass(frozen=True)
class Tile:
    """The part of a product that fits one polynomial."""

    rows: int
    inner: int
    cols: int

    def __post_init__(self) -> None:
        if min(self.rows, self.inner, self.cols) < 1:
            raise ValueError(f"a tile has at least one row, inner index and column, not {self}")

    def __str__(self) -> str:
        return f"{self.rows}x{self.inner}x{self.cols}"

    @property
    def span(self) -> int:
        """Coefficients of the right-hand tile, and the distance between two rows of the left."""
        return self.inner * self.cols

    @property
    def size(self) -> int:
        return self.rows * self.span

    @property
    def block(self) -> int:
        """The power of two that holds the right-hand tile."""
        return max(LANES, 1 << (self.span - 1).bit_length())

    def free(self, degree: int) -> NDArray[np.uint8]:
        """1 where the left-hand tile has an entry, 0 at the other coefficients: (N,)."""
        out = np.zeros(degree, np.uint8)
        out[: self.size].reshape(self.rows, self.cols, self.inner)[:, 0] = 1
        return out

    @property
    def slots(self) -> int:
        return self.rows * self.cols

    def positions(self) -> NDArray[np.uint32]:
        """Where result (i, j) of the tile stands: shape (rows·cols,), row by row."""
        i, j = np.indices((self.rows, self.cols))
        return (i * self.span + j * self.inner + self.inner - 1).ravel().astype(np.uint32)


def tiles(length: int, width: int) -> int:
    return -(-length // width)


def _padded(x: Matrix, rows: int, cols: int) -> Matrix:
    if x.shape == (rows, cols):
        return x
    out = np.zeros((rows, cols), x.dtype)
    out[: x.shape[0], : x.shape[1]] = x
    return out


def unpack_left(polys: Matrix, tile: Tile, m: int, k: int) -> Matrix:
    """The matrix (m, k) whose tiles are the polynomials (k tiles, m tiles, N)."""
    across, down = polys.shape[:2]
    grid = polys[:, :, : tile.size].reshape(across, down, tile.rows, tile.cols, tile.inner)[:, :, :, 0]
    full = grid.transpose(1, 2, 0, 3).reshape(down * tile.rows, across * tile.inner)
    return np.ascontiguousarray(full[:m, :k])


def pack_right(w: Matrix, tile: Tile, length: int) -> Matrix:
    """w (k, n) as polynomials (k tiles, n tiles, length), of which the first `Tile.span` are used."""
    down, across = tiles(w.shape[0], tile.inner), tiles(w.shape[1], tile.cols)
    cut = _padded(w, down * tile.inner, across * tile.cols).reshape(down, tile.inner, across, tile.cols)
    out = np.zeros((down, across, length), w.dtype)
    out[:, :, : tile.span] = cut[:, ::-1].transpose(0, 2, 3, 1).reshape(down, across, tile.span)
    return out


def into_lanes(polys: Matrix, axis: int) -> Matrix:
    """Gather axis ``axis`` by eights, (..., tiles, ..., size) -> (..., groups, ..., size, 8)."""
    count = polys.shape[axis]
    groups = tiles(count, LANES)
    moved = np.moveaxis(polys, axis, 0)
    out = np.zeros((groups, *moved.shape[1:], LANES), polys.dtype)
    for lane in range(LANES):
        part = moved[lane::LANES]
        out[: len(part), ..., lane] = part
    return np.ascontiguousarray(np.moveaxis(out, 0, axis))


def cut_results(x: Matrix, tile: Tile, across: int) -> Matrix:
    """A matrix (m, n) as slots (m tiles, ``across`` >= n tiles, rows·cols); what lies outside it is 0."""
    down = tiles(x.shape[0], tile.rows)
    full = _padded(x, down * tile.rows, across * tile.cols)
    grid = full.reshape(down, tile.rows, across, tile.cols).transpose(0, 2, 1, 3)
    return np.ascontiguousarray(grid.reshape(down, across, tile.slots))


def join_results(slots: Matrix, tile: Tile, m: int, n: int) -> Matrix:
    """Slots (m tiles, n tiles, rows·cols) as the matrix (m, n)."""
    down, across, _ = slots.shape  # across >= n tiles
    grid = slots.reshape(down, across, tile.rows, tile.cols).transpose(0, 2, 1, 3)
    return np.ascontiguousarray(grid.reshape(down * tile.rows, across * tile.cols)[:m, :n])
