"""The left operand of a product under HE as polynomials: what a client's upload holds."""

from __future__ import annotations

import numpy as np

from ppc.runtime.he.packing import Matrix, Tile, _padded, tiles


def pack_left(x: Matrix, tile: Tile, degree: int) -> Matrix:
    """x (m, k) as polynomials (k tiles, m tiles, N)."""
    across, down = tiles(x.shape[1], tile.inner), tiles(x.shape[0], tile.rows)
    cut = _padded(x, down * tile.rows, across * tile.inner).reshape(down, tile.rows, across, tile.inner)
    out = np.zeros((across, down, degree), x.dtype)
    grid = out[:, :, : tile.size].reshape(across, down, tile.rows, tile.cols, tile.inner)
    grid[:, :, :, 0, :] = cut.transpose(2, 0, 1, 3)
    out[:, :, : tile.size] = grid.reshape(across, down, tile.size)
    return out
