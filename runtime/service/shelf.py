"""Where prepared material may be: opened when there is something, or when something is to be put there."""

from __future__ import annotations

from collections.abc import Collection, Set
from dataclasses import replace
from functools import cache, partial
from pathlib import Path

from ..party.role import CLIENT, SERVER
from ..plan.file import Plan, Weights
from ..session.facts import facts
from ..session.material import Binding, Store


class Shelf:
    """The store of a plan below ``path``, at the server, who gives its weights, or at the client.

    What was prepared without ``check_ot`` is not used with it, nor the other way round.
    """

    def __init__(
        self, path: str | Path | None, plan: Plan, weights: Weights | None, *, check_ot: bool
    ) -> None:
        self._path = None if path is None else Path(path)
        self._plan = plan
        self._weights = weights
        self._check_ot = check_ot
        self._store: Store | None = None

    @property
    def level(self) -> int:
        """How many inferences lie here prepared, by their names."""
        if self._path is None:
            return 0
        role = CLIENT if self._weights is None else SERVER
        return sum(1 for _ in self._path.glob(f"*.{role.value}"))

    def lying(self, ids: Set[bytes]) -> int:
        """How many of these lie here."""
        store = self.there() if ids else None
        return 0 if store is None else len(ids & set(store.named()))

    def make_room(self, level: float, held: Collection[bytes]) -> None:
        """Down to ``level``: the oldest goes of what the peer does not hold, which nobody can use."""
        store = self.there()
        if store is None or self.level <= level:
            return
        useless = [id for id in store.named() if id not in held]
        for id in useless[int(level) - self.level :]:
            store.discard(id)

    def there(self) -> Store | None:
        """The store, where there is one."""
        if self._store is None and self._path is not None and self._path.is_dir():
            self._store = self._open(self._path)
        return self._store

    def made(self) -> Store:
        """The store, made where there is none. Raises BadInput where nothing can be written to it."""
        if self._path is None:
            raise ValueError("preparing needs a store")
        self._store = self._store or self._open(self._path)
        self._store.create()
        return self._store

    def _open(self, path: Path) -> Store:
        return open_store(path, self._plan, self._weights, check_ot=self._check_ot)


def open_store(path: Path, plan: Plan, weights: Weights | None, *, check_ot: bool = False) -> Store:
    """The store of this plan and its shorter ones, at the server, who gives its weights, or at the client."""

    def bound(length: Plan) -> Binding:
        made = Binding.of(plan, facts(length).digest_for(check_ot), weights)
        return replace(made, plan=bytes.fromhex(length.hash))

    # each of them is derived when a prompt of its length comes, which takes a while
    others = {bytes.fromhex(each.hash): cache(partial(bound, each)) for each in plan.lengths}
    return Store(path, bound(plan), others)
