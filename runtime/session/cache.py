"""One side's shares of what programs of a connection carry on (`plan.state`): they live as long as it
does."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..base.errors import PeerMismatch
from ..party.ahead import Key
from ..plan.file import Plan
from ..plan.step import Step
from ..protocols.cached import Opened

Array = NDArray[Any]


class Cache:
    """Rows by state. At a party they are shares in their ring; the simulator keeps integers, samples first.

    ``lead`` is the number of axes in front of a value's own.
    """

    def __init__(self, lead: int = 0) -> None:
        self._lead = lead
        self._states: dict[str, Array] = {}
        self._opened: dict[Key, Opened] = {}
        self.rows = 0
        """How many there are of each state."""

    def __repr__(self) -> str:
        return f"Cache({self.rows} rows, <secret>)"

    def open(self, plan: Plan) -> None:
        """A program of ``plan`` begins. Raises PeerMismatch where it does not read all the rows there are."""
        if not plan.states.held:
            self.clear()
        elif self.rows > plan.states.held:
            raise PeerMismatch(
                f"the client asks for a token after {plan.states.held} rows at most, and {self.rows} are kept"
            )

    def close(self, plan: Plan) -> None:
        """It has ended."""
        self.rows += plan.states.added

    def clear(self) -> None:
        self._states.clear()
        self._opened.clear()
        self.rows = 0

    def recalled(self, step: Step) -> list[Array | int | None]:
        """What a step reads, None where nothing was kept, and while pricing; and how many rows, where it
        counts them."""
        return [*(self._states.get(name) for name in step.recalls()), *([self.rows] if step.counts() else [])]

    def opened(self, key: Key) -> Opened:
        """What a step of a plan has opened of rows (`protocols.cached`)."""
        return self._opened.setdefault(key, Opened())

    def keep(self, step: Step, value: Array | None) -> None:
        """``value`` behind what is there, if the step keeps it."""
        if value is None or (kept := step.keeps()) is None:
            return
        name, axis = kept
        there = self._states.get(name)
        rows = value if there is None else np.concatenate([there, value], axis + self._lead)
        self._states[name] = rows
