"""Tiles against plain polynomial arithmetic."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from packed import pack_left

from ppc.runtime.he.packing import (
    LANES,
    Tile,
    cut_results,
    into_lanes,
    join_results,
    pack_right,
    tiles,
    unpack_left,
)

N = 64


def negacyclic(a, b):
    full = np.convolve(a.astype(object), b.astype(object))
    out = full[:N].copy()
    out[: len(full) - N] -= full[N:]
    return out


def product(x, w, tile):
    """The product by polynomials of degree N, tile by tile."""
    left, right = pack_left(x, tile, N), pack_right(w, tile, N)
    slots = np.zeros((left.shape[1], right.shape[1], tile.slots), object)
    for i in range(left.shape[1]):
        for j in range(right.shape[1]):
            total = sum(negacyclic(left[t, i], right[t, j]) for t in range(left.shape[0]))
            slots[i, j] = total[tile.positions()]
    return join_results(slots, tile, x.shape[0], w.shape[1])


shapes = st.tuples(*[st.integers(1, 9)] * 3)
sizes = st.tuples(*[st.integers(1, 8)] * 3).filter(lambda s: s[0] * s[1] * s[2] <= N)


@settings(max_examples=40, deadline=None)
@given(shapes, sizes, st.integers(0, 2**32))
def test_tiles_multiply_matrices(shape, size, seed):
    rng = np.random.default_rng(seed)
    m, k, n = shape
    x, w = rng.integers(-99, 99, (m, k)), rng.integers(-99, 99, (k, n))
    assert np.array_equal(product(x, w, Tile(*size)), x @ w)


@settings(max_examples=40, deadline=None)
@given(shapes, sizes, st.integers(0, 2**32))
def test_uploads_hold_the_left_matrix_and_nothing_else(shape, size, seed):
    m, k, _ = shape
    x, tile = np.random.default_rng(seed).integers(1, 99, (m, k)), Tile(*size)
    polys = pack_left(x, tile, N)
    assert np.array_equal(unpack_left(polys, tile, m, k), x)
    assert not polys[..., tile.free(N) == 0].any()
    assert tile.free(N).sum() == tile.rows * tile.inner


def test_a_tile_too_large_for_the_polynomial_goes_wrong():
    x, w = np.ones((5, 4), int), np.ones((4, 4), int)
    with pytest.raises(ValueError, match=r"broadcast|reshape"):
        product(x, w, Tile(5, 4, 4))


def test_results_stand_at_the_documented_positions():
    tile = Tile(2, 3, 4)
    assert tile.positions().tolist() == [i * 12 + j * 3 + 2 for i in range(2) for j in range(4)]
    assert (tile.span, tile.size, tile.block, tile.slots) == (12, 24, 16, 8)


def test_an_empty_tile_is_refused():
    with pytest.raises(ValueError, match="at least one"):
        Tile(1, 0, 1)


def test_lanes_hold_polynomials_side_by_side():
    polys = np.arange(2 * 11 * 3).reshape(2, 11, 3)
    lanes = into_lanes(polys, 1)
    assert lanes.shape == (2, 2, 3, LANES)
    assert np.array_equal(lanes[1, 1, :, 2], polys[1, 10])
    assert not lanes[:, 1, :, 3:].any()


def test_cutting_and_joining_results_are_inverse():
    tile, x = Tile(4, 1, 3), np.arange(7 * 50).reshape(7, 50)
    cut = cut_results(x, tile, 24)
    assert cut.shape == (2, 24, tile.slots)
    assert np.array_equal(join_results(cut, tile, 7, 50), x)
    assert not cut[:, tiles(50, 3) :].any()
