"""What a server answers for."""

from __future__ import annotations

import hashlib
import threading
from math import inf
from pathlib import Path

from ..party.role import SERVER
from ..plan.file import Plan, Weights, check_promises, check_weights
from ..session.facts import facts
from ..session.handshake import Request
from .shelf import Shelf


class Offer:
    """A plan with its weights, and where its prepared material is.

    Raises:
        BadPlan, RangeFault: weights that are not what the plan says, or beyond a bound that it announces.
    """

    def __init__(self, plan: Plan, weights: Weights, *, store: str | Path | None, check_ot: bool) -> None:
        check_weights(weights, plan)
        check_promises(weights, plan)
        self.plan = plan
        self.weights = weights
        self._store = None if store is None else Path(store)
        self._check_ot = check_ot
        self._shelves: dict[str | None, Shelf] = {}
        self._lock = threading.Lock()

    def __repr__(self) -> str:
        return f"Offer(plan {self.plan.hash[:12]}, <weights>)"

    def warm(self) -> None:
        """Do beforehand what takes time and no client should wait for. Raises as opening a store does."""
        self.shelf_of(None).there()
        for plan in self.plan.lengths:
            _ = facts(plan).memory(), facts(plan).digest_for(self._check_ot)

    def shelf_of(self, name: str | None) -> Shelf:
        """Where the material of the client of this name is, which no other gets; None are those without."""
        with self._lock:
            if name not in self._shelves:
                path = self._store if self._store is None or name is None else self._store / _folder(name)
                made = Shelf(path, self.plan, self.weights, check_ot=self._check_ot)
                self._shelves[name] = made
            return self._shelves[name]

    @property
    def level(self) -> int:
        """How many inferences lie prepared, of all clients."""
        if self._store is None:
            return 0
        return sum(1 for _ in self._store.glob(f"**/*.{SERVER.value}"))

    def memory(self, request: Request | None = None, held: float = inf) -> int:
        """Bytes that this side is predicted to hold at most while it answers ``request``, the longest without
        one, and up to ``held`` of its material in memory."""
        plan = None if request is None else self.plan.of_hash(request.plan)
        return facts(plan or self.plan).memory(held)


def _folder(name: str) -> str:
    """A name that any file system takes, whatever an authority has put into a certificate."""
    return hashlib.blake2b(name.encode(), digest_size=16).hexdigest()
