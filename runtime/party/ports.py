"""What a party asks of its engines: correlated OTs from one side to the other, and products of matrices.

Protocols are written against these ports alone, so that another engine (other masks, a GPU, checks against a
peer that deviates) can stand in the same place. An engine belongs to one party, is made by the factory that
the party is given, and lasts as long as its connection.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from ..base.ring import Ring, Signed
from .ahead import Ahead
from .role import Role

Right = Callable[[], Ring | Signed]
"""Gives the server's V, (batch, k, n): signed integers of any width, or ring elements."""


@dataclass(frozen=True)
class MatrixProduct:
    """``batch`` products U·V of (m, k)·(k, n) mod 2^ell. An engine's own kind says how it makes them."""

    batch: int
    m: int
    k: int
    n: int
    ell: int


class CotSource(Protocol):
    """Correlated OTs from ``sender``, who learns both keys of each, to the other role.

    A sender's block and a receiver's differ by Delta where the receiver's choice bit is 1. Every COT has a
    running index, which tweaks the hash and never repeats while the source lives.
    """

    @property
    def sender(self) -> Role: ...

    @property
    def delta(self) -> Ring | None:
        """Delta, uint64 (1, 2), at the sender; None at the receiver and while pricing."""

    @property
    def tweak(self) -> NDArray[np.uint8] | None:
        """What `ot.keys` hashes these COTs under; None while pricing.

        16 public bytes, alike at both roles, that no other session and direction has.
        """

    @property
    def ready(self) -> bool:
        """Whether its base OTs are made."""

    @property
    def checked(self) -> bool:
        """Whether a peer that deviates from making them is found out."""

    def plan(self, count: int) -> None:
        """Just ``count`` will be taken from now on. The first time base OTs are exchanged."""

    def take(self, count: int) -> tuple[int, Ring | None]:
        """The index of the first of the next ``count``, and their blocks, uint64 (count, 2)."""


class PendingProduct(Protocol):
    """A product that is under way."""

    @property
    def mask(self) -> Ring | None:
        """U, (batch, m, k) uniform mod 2^ell, at the client, who learns it here; None elsewhere."""

    def finish(self) -> Ring | None:
        """server -> client    this party's share of U·V, (batch, m, n); None while pricing"""


class LinearEngine(Protocol):
    """Makes products of a uniform matrix that the client gets with one that the server has."""

    @property
    def ready(self) -> frozenset[Hashable]:
        """The kinds of keys that the server holds already."""

    def plan(self, products: Sequence[MatrixProduct]) -> None:
        """client -> server    what keys these products need and the server does not hold yet"""

    def hold(self, memory: float) -> None:
        """For a program that begins: bytes of uploads to hold while they wait; the rest waits on disk."""

    def begin(self, product: MatrixProduct, right: Right) -> PendingProduct:
        """client -> server    what hides U        ``right()`` is called at the server alone"""

    def close(self) -> None:
        """Nothing that was begun goes on after it; what is set up stays."""


@dataclass(frozen=True)
class Engines:
    """What a party computes with: COTs by their sender, products of matrices, and what is made ahead."""

    cots: Mapping[Role, CotSource]
    linear: LinearEngine
    ahead: Ahead = field(default_factory=Ahead)
