"""The sums of `runtime/native/ot_check.cpp` against plain integers, on each path that the processor has."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest

from ppc.runtime import _ot

MODULUS = 1 << 128 | 0x87


@pytest.fixture(params=range(3), ids=["portable", "clmul", "wide"])
def _path(request: pytest.FixtureRequest) -> Iterator[None]:
    if request.param > _ot.best_gf_path():
        pytest.skip("this processor has no such path")
    before = _ot.set_gf_path(request.param)
    yield
    _ot.set_gf_path(before)


def _times(a: int, b: int) -> int:
    product = 0
    for i in range(128):
        if b >> i & 1:
            product ^= a << i
    for i in reversed(range(128, 256)):
        if product >> i & 1:
            product ^= MODULUS << (i - 128)
    return product


def _dot(a: list[int], b: list[int]) -> int:
    total = 0
    for x, y in zip(a, b, strict=True):
        total ^= _times(x, y)
    return total


def _ints(blocks: np.ndarray) -> list[int]:
    return [int.from_bytes(block.tobytes(), "little") for block in blocks.reshape(-1, 16)]


def _random(n: int, seed: int = 1) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 2**64, (n, 2), dtype=np.uint64)


def _stream(seed: np.ndarray, n: int) -> list[int]:
    return _ints(_ot.aes_ctr(seed, 0, n))


SEED = np.arange(16, dtype=np.uint8)


@pytest.mark.usefixtures("_path")
@pytest.mark.parametrize("n", [0, 1, 3, 4, 5, 8, 33])
def test_products_are_those_of_the_field(n: int) -> None:
    a, b = _random(n, 1), _random(n, 2)
    assert _ints(_ot.gf_dot(a, b).view(np.uint8)) == [_dot(_ints(a.view(np.uint8)), _ints(b.view(np.uint8)))]


@pytest.mark.usefixtures("_path")
def test_products_are_reduced_from_the_top() -> None:
    top = np.array([[0, 1 << 63]], np.uint64)
    assert _ints(_ot.gf_dot(top, top).view(np.uint8)) == [_times(1 << 127, 1 << 127)]


@pytest.mark.usefixtures("_path")
@pytest.mark.parametrize("groups", [1, 2, 33])
def test_hashes_of_columns_agree_with_their_definition(groups: int) -> None:
    rows = _random(128 * groups)
    bits = np.unpackbits(rows.view(np.uint8), axis=1, bitorder="little").reshape(groups, 128, 128)
    columns = np.packbits(bits.transpose(2, 0, 1), axis=2, bitorder="little")
    weights = [*_stream(SEED, groups)[:-1], 1]
    for j, hashed in enumerate(_ints(_ot.column_hashes(SEED, rows).view(np.uint8))):
        assert hashed == _dot(weights, _ints(columns[j]))


@pytest.mark.usefixtures("_path")
def test_sums_of_leaves_agree_with_their_definition() -> None:
    trees, depth = 5, 3
    leaves = _random(trees << depth)
    stream = _stream(SEED, (1 << depth) + trees)
    places, own = stream[: 1 << depth], stream[1 << depth :]
    weights = [_times(b, a) for b in own for a in places]
    values = _ints(leaves.view(np.uint8))
    total, holes = _ot.leaf_sums(SEED, leaves, trees, depth)
    assert _ints(total.view(np.uint8)) == [_dot(weights, values)]
    assert _ints(holes.view(np.uint8)) == [_dot(weights, [x & 1 for x in values])]


def test_kernels_refuse_wrong_sizes() -> None:
    with pytest.raises(ValueError, match="equally many"):
        _ot.gf_dot(_random(2), _random(3))
    with pytest.raises(ValueError, match="groups of 128"):
        _ot.column_hashes(SEED, _random(127))
    with pytest.raises(ValueError, match="16 bytes"):
        _ot.column_hashes(SEED[:15], _random(128))
    with pytest.raises(ValueError, match="leaves a tree"):
        _ot.leaf_sums(SEED, _random(15), 2, 3)
    with pytest.raises(ValueError, match="1 to 24"):
        _ot.leaf_sums(SEED, _random(16), 1, 25)
    with pytest.raises(ValueError, match="no such path"):
        _ot.set_gf_path(3)
