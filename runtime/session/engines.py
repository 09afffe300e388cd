"""The engines that a party gets: silent OT extension and products under HE."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from ..base.ring import Ring
from ..he.engine import HERE, HeEngine, Workshop
from ..he.params import HeParams
from ..ot.pool import Pool
from ..party.ahead import Ahead, Key
from ..party.party import Party
from ..party.ports import Engines
from ..party.role import Role


@dataclass(frozen=True)
class Ready:
    """What earlier programs of a connection have set up: base OTs by sender, and kinds of keys; and how many
    pieces of material they have left, by step."""

    cots: frozenset[Role] = frozenset()
    keys: frozenset[Hashable] = frozenset()
    ahead: frozenset[tuple[Key, int]] = frozenset()

    @staticmethod
    def of(p: Party) -> Ready:
        cots = frozenset(role for role, source in p.cots.items() if source.ready)
        return Ready(cots, p.linear.ready, p.ahead.left)


NOTHING = Ready()
"""Of a connection that begins."""


def standard(p: Party) -> Engines:
    """For a connection that begins, or for its price."""
    return resumed(NOTHING)(p)


def checked(p: Party) -> Engines:
    """The same, with checks of OT extension (`ot.check`)."""
    return resumed(NOTHING, check_ot=True)(p)


def resumed(ready: Ready, *, check_ot: bool = False, workshop: Workshop = HERE) -> Callable[[Party], Engines]:
    """For the price of a program on a connection on which so much is set up; for one that begins nothing is,
    and ``workshop`` computes its answers."""

    def engines(p: Party) -> Engines:
        sets = [each for each in ready.keys if isinstance(each, HeParams)]
        pools = {role: Pool(p, role, ready=role in ready.cots, check=check_ot) for role in Role}
        return Engines(pools, HeEngine(p, ready=sets, workshop=workshop), Ahead(dict(ready.ahead)))

    return engines


def checks_ot(p: Party) -> bool:
    """Whether this party's engines check OT extension, which both sides must do or neither."""
    return all(source.checked for source in p.cots.values())


@dataclass(repr=False)
class CountingSource:
    """Stands where a pool will be in a dry run, and counts what is asked of it."""

    sender: Role
    taken: int = 0
    delta: Ring | None = field(default=None, init=False)
    tweak: NDArray[np.uint8] | None = field(default=None, init=False)
    ready: bool = field(default=True, init=False)
    checked: bool = field(default=False, init=False)

    def plan(self, count: int) -> None:
        """Any number may be taken."""

    def take(self, count: int) -> tuple[int, Ring | None]:
        self.taken += count
        return 0, None


def counting(p: Party) -> Engines:
    """For a dry run of which correlated OTs are no part."""
    return Engines({role: CountingSource(role) for role in Role}, HeEngine(p))
