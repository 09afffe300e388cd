"""Where prepared material may be."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from ..plan.file import Plan, Weights
from ..session.material import Say, Store
from ..session.program import open_store

Array = NDArray[Any]


class Shelf:
    """Where material may be: opened when there is something, or when something is to be put there."""

    def __init__(self, path: Path | None, plan: Plan, weights: Weights | None) -> None:
        self._path = path
        self._plan = plan
        self._weights = weights
        self._store: Store | None = None

    def there(self, say: Say) -> Store | None:
        if self._store is None and self._path is not None and self._path.is_dir():
            self._store = open_store(self._path, self._plan, self._weights, say)
        return self._store

    def made(self, say: Say) -> Store:
        if self._path is None:
            raise ValueError("preparing needs a store")
        self._store = self._store or open_store(self._path, self._plan, self._weights, say)
        self._store.create()
        return self._store
