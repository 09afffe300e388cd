"""Where prepared material may be: opened when there is something, or when something is to be put there."""

from __future__ import annotations

from pathlib import Path

from ..plan.file import Plan, Weights
from ..session.facts import facts
from ..session.material import Binding, Store


class Shelf:
    """The store of a plan below ``path``, at the server, who gives its weights, or at the client."""

    def __init__(self, path: Path | None, plan: Plan, weights: Weights | None) -> None:
        self._path = path
        self._plan = plan
        self._weights = weights
        self._store: Store | None = None

    def there(self) -> Store | None:
        """The store, where there is one."""
        if self._store is None and self._path is not None and self._path.is_dir():
            self._store = open_store(self._path, self._plan, self._weights)
        return self._store

    def made(self) -> Store:
        """The store, made where there is none. Raises BadInput where nothing can be written to it."""
        if self._path is None:
            raise ValueError("preparing needs a store")
        self._store = self._store or open_store(self._path, self._plan, self._weights)
        self._store.create()
        return self._store


def open_store(path: Path, plan: Plan, weights: Weights | None) -> Store:
    """The store of this plan at the server, who gives its weights, or at the client."""
    return Store(path, Binding.of(plan, facts(plan).digest, weights))
