"""Products of rows with one number each, and of rows with rows, made under HE in place of OTs.

    [u_g·v_g]     u_g a row of one party, v_g a number of the other
    [<u_g, v_g>]  a row of either party

By OT a product costs its bits squared; here every element costs one coefficient of an answer. Groups are
taken b at a time, so that they fill a polynomial: one product of a batch is

    numbers at the server    (length, b)·diag(v_1, …, v_b)
    numbers at the client    (1, b)·(b, b·length), row j of which holds u_j in columns of its own, else zeros
    rows at both             (b, length)·(length, b), of which the diagonal is wanted

The last batch is filled up with groups that nobody reads.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..base.ring import Ring, Signed, known
from ..party.party import Party
from ..party.ports import MatrixProduct, PendingProduct

Axes = tuple[int, int, int, int]
"""batch, m, k, n"""


def numbers_at_server(groups: int, length: int, b: int) -> Axes:
    return -(-groups // b), length, b, b


def numbers_at_client(groups: int, length: int, b: int) -> Axes:
    return -(-groups // b), 1, b, b * length


def rows_at_both(groups: int, length: int, b: int) -> Axes:
    return -(-groups // b), b, length, b


def axes(product: MatrixProduct) -> Axes:
    return product.batch, product.m, product.k, product.n


class NumbersAtServer:
    """client -> server    Enc(u)    ``numbers``, at the server: (groups,)"""

    def __init__(self, p: Party, product: MatrixProduct, numbers: Callable[[], Ring | Signed]) -> None:
        def right() -> Ring | Signed:
            v = _filled(numbers(), product.batch, product.k)
            out = np.zeros((*v.shape, product.k), v.dtype)
            here = np.arange(product.k)
            out[:, here, here] = v
            return out

        self._product = product
        self._pending: PendingProduct = p.linear.begin(product, right)

    def mask(self, groups: int) -> Ring:
        """u at the client, (groups, length)."""
        return self._rows(known(self._pending.mask), groups)

    def finish(self, groups: int) -> Ring | None:
        """server -> client    Enc(u·v - s)    this party's share, (groups, length)"""
        found = self._pending.finish()
        return None if found is None else self._rows(found, groups)

    def _rows(self, columns: Ring, groups: int) -> Ring:
        turned = columns.transpose(0, 2, 1).reshape(-1, self._product.m)
        return np.ascontiguousarray(turned[:groups])


class NumbersAtClient:
    """client -> server    Enc(v)    ``rows``, at the server: (groups, length)"""

    def __init__(self, p: Party, product: MatrixProduct, rows: Callable[[], Ring]) -> None:
        b = product.k

        def right() -> Ring:
            u = _filled(rows(), product.batch, b)
            out = np.zeros((product.batch, b, b, product.n // b), u.dtype)
            here = np.arange(b)
            out[:, here, here] = u
            return out.reshape(product.batch, b, product.n)

        self._length = product.n // b
        self._pending: PendingProduct = p.linear.begin(product, right)

    def mask(self, groups: int) -> Ring:
        """v at the client, (groups,)."""
        return known(self._pending.mask).reshape(-1)[:groups].copy()

    def finish(self, groups: int) -> Ring | None:
        """server -> client    Enc(u·v - s)    this party's share, (groups, length)"""
        found = self._pending.finish()
        return None if found is None else found.reshape(-1, self._length)[:groups].copy()


class RowsAtBoth:
    """client -> server    Enc(u)    ``rows``, at the server: (groups, length)"""

    def __init__(self, p: Party, product: MatrixProduct, rows: Callable[[], Ring]) -> None:
        def right() -> Ring:
            return np.ascontiguousarray(_filled(rows(), product.batch, product.m).transpose(0, 2, 1))

        self._length = product.k
        self._pending: PendingProduct = p.linear.begin(product, right)

    def mask(self, groups: int) -> Ring:
        """u at the client, (groups, length)."""
        return known(self._pending.mask).reshape(-1, self._length)[:groups].copy()

    def finish(self, groups: int) -> Ring | None:
        """server -> client    Enc(<u, v> - s)    this party's share, (groups,)"""
        found = self._pending.finish()
        return None if found is None else found.diagonal(axis1=1, axis2=2).reshape(-1)[:groups].copy()


def _filled(x: NDArray[Any], batch: int, b: int) -> NDArray[Any]:
    """(groups, …) as (batch, b, …), with zeros at the end."""
    out = np.zeros((batch * b, *x.shape[1:]), x.dtype)
    out[: len(x)] = x
    return out.reshape(batch, b, *x.shape[1:])
