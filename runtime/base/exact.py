"""Products of integer matrices mod 2^64, by floating point where that is exact.

    c_ij = Σ_l a_il·b_lj   mod 2^64, read as signed

A double holds every integer up to 2^53. Where max|a|·max|b|·k stays within, no sum of products is ever
rounded, in whatever order a BLAS adds them. Where it does not, the native kernel multiplies words. Rows of a
look-up, nearly all of whose elements are zero, gather rows of b instead; `OneHotRows` need not be searched.
"""

from __future__ import annotations

from functools import cached_property
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .. import _ring
from .one_hot import OneHotRows

Ints = NDArray[np.signedinteger[Any]]
"""Of any width."""

EXACT = 2**53
"""Doubles hold all integers up to here, and not the next."""

FEW = 2
"""Non-zeros a row, on average, up to which rows are gathered; each costs passes over a row of the result."""

LONG = 256
"""Rows shorter than this are multiplied faster than gathered."""


class Factor:
    """The right-hand side of many products: what one needs of it is kept for the next.

    ``ints`` is (..., k, n) and must not change. Up to 16 bytes an element are kept, if products ask for them.
    """

    def __init__(self, ints: Ints) -> None:
        self.ints = ints

    @cached_property
    def largest(self) -> int:
        return _largest(self.ints)

    @cached_property
    def doubles(self) -> NDArray[np.float64]:
        return self.ints.astype(np.float64)

    @cached_property
    def words(self) -> NDArray[np.uint64]:
        return _words(self.ints)


def matmul(a: Ints | OneHotRows, b: Ints | Factor) -> NDArray[np.int64]:
    """``a @ b`` of signed integers (..., m, k) and (..., k, n), batches broadcast; a may be (k,) too."""
    right = b if isinstance(b, Factor) else Factor(b)
    if isinstance(a, OneHotRows):
        if right.ints.ndim == 2 and len(right.ints) == a.depth:
            return right.ints[a.ids].astype(np.int64) * a.value
        a = np.asarray(a, np.int64)
    if right.ints.ndim > 2:
        return _product(a, right)
    k, n = right.ints.shape
    rows = a.reshape(prod(a.shape[:-1]), a.shape[-1])  # one product instead of one for each of the batch
    found = _gathered(rows, right.ints) if k == rows.shape[1] >= LONG else None
    return (_product(rows, right) if found is None else found).reshape(*a.shape[:-1], n)


def _product(a: Ints, right: Factor) -> NDArray[np.int64]:
    if _largest(a) * right.largest * a.shape[-1] <= EXACT:
        return np.asarray(a.astype(np.float64) @ right.doubles).astype(np.int64)
    batch = np.broadcast_shapes(a.shape[:-2], right.ints.shape[:-2])
    product = _ring.matmul(_flat(_words(a), batch), _flat(right.words, batch))
    return product.reshape(*batch, *product.shape[1:]).view(np.int64)


def _gathered(a: Ints, b: Ints) -> NDArray[np.int64] | None:
    """(m, k) @ (k, n) where rows of a have few non-zeros; None where they have more."""
    rows, k = a.shape
    if not rows or np.count_nonzero(a[0]) > FEW or np.count_nonzero(a) > FEW * rows:
        return None
    places = np.flatnonzero(a != 0)  # ten times as fast as `nonzero` on either
    row, column = np.divmod(places, k)
    terms = b[column].astype(np.int64) * a[row, column, None]
    out = np.zeros((rows, b.shape[1]), np.int64)
    first = np.flatnonzero(np.diff(row, prepend=-1))
    out[row[first]] = np.add.reduceat(terms, first, axis=0)
    return out


def _largest(x: Ints) -> int:
    """max|x|, which for the least integer is none of x's type."""
    return max(-int(x.min()), int(x.max())) if x.size else 0


def _words(x: Ints) -> NDArray[np.uint64]:
    return np.ascontiguousarray(x, np.int64).view(np.uint64)


def _flat(x: NDArray[np.uint64], batch: tuple[int, ...]) -> NDArray[np.uint64]:
    """One batch axis, of length 1 where x is the same for all."""
    if prod(x.shape[:-2]) != 1:
        x = np.ascontiguousarray(np.broadcast_to(x, (*batch, *x.shape[-2:])))
    return x.reshape(prod(x.shape[:-2]), *x.shape[-2:])
