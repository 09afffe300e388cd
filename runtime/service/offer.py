"""What a server answers for."""

from __future__ import annotations

from pathlib import Path

from ..plan.file import Plan, Weights, check_promises, check_weights
from ..session.facts import facts
from ..session.handshake import Request
from .shelf import Shelf


class Offer:
    """A plan with its weights, and where its prepared material is.

    Raises:
        BadPlan, RangeFault: weights that are not what the plan says, or beyond a bound that it announces.
    """

    def __init__(self, plan: Plan, weights: Weights, *, store: Path | None, check_ot: bool) -> None:
        check_weights(weights, plan)
        check_promises(weights, plan)
        self.plan = plan
        self.weights = weights
        self.shelf = Shelf(store, plan, weights, check_ot=check_ot)

    def __repr__(self) -> str:
        return f"Offer(plan {self.plan.hash[:12]}, <weights>)"

    def warm(self) -> None:
        """Do beforehand what takes time and no client should wait for. Raises as opening a store does."""
        self.shelf.there()
        for plan in self.plan.lengths:
            _ = facts(plan).memory, facts(plan).digest_for(self.shelf.check_ot)

    @property
    def most_memory(self) -> int:
        """Bytes that its longest inference is predicted to hold."""
        return facts(self.plan).memory

    def memory(self, request: Request) -> int:
        """Bytes that this side is predicted to hold at most while it answers ``request``."""
        return facts(self.plan.length(request.plan) or self.plan).memory
