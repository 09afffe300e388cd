"""What follows from a plan alone: computed once a plan, and kept."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from functools import cached_property
from math import inf

from ..he.engine import HeEngine
from ..party.party import Party
from ..party.ports import Engines
from ..party.role import Role
from ..plan.file import Plan
from .engines import CountingSource, checked, standard
from .executor import offline, online, setup
from .held import Held

KEPT = 64
"""Plans whose facts are kept; several lengths are several plans."""

IDLE_BYTES, HELD_BYTES, EXTENDED_BYTES, EXTENSION = 8_000_000, 8, 30, 11_000_000
"""Of a connection; a COT's in material; a COT's while it is made, and how many are made at once.

They bound what was measured of three plans (docs/serving.md).
"""

_kept: dict[str, Facts] = {}


def facts(plan: Plan) -> Facts:
    """The facts of ``plan``, the same object for equal plans."""
    found = _kept.pop(plan.hash, None) or Facts(plan)
    _kept[plan.hash] = found  # the latest last
    if len(_kept) > KEPT:
        del _kept[next(iter(_kept))]
    return found


class Facts:
    def __init__(self, plan: Plan) -> None:
        self._plan = plan

    @property
    def cots(self) -> Mapping[Role, int]:
        """Correlated OTs that one inference takes, by sender."""
        return self._dry_run[0]

    def dry_material(self, at: int = 0) -> Held:
        """What `offline` leaves for `online`, without data: to price an inference that is prepared, of those
        that are made together the one ``at`` that place."""
        return Held.of(self._dry_run[1][min(at, 1)])

    @cached_property
    def _dry_run(self) -> tuple[Mapping[Role, int], tuple[Held, Held]]:
        """Correlated OTs, and the material of the first and of any other of those that are made together."""
        sources = {role: CountingSource(role) for role in Role}
        p = Party(None, engines=lambda p: Engines(sources, HeEngine(p)))
        first = offline(p, self._plan)
        cots = {role: source.taken for role, source in sources.items()}
        return cots, (first, first if self._plan.options.together == 1 else offline(p, self._plan))

    def memory(self, held: float = inf) -> int:
        """Bytes that the server holds at most while it answers, as predicted, besides the weights.

        What the two say offline, what correlated OTs leave in material, of which no more than ``held`` stays
        in memory, and the extension that makes them.
        """
        cots = sum(self.cots.values())
        made = min(HELD_BYTES * cots, int(min(held, 2**62)))
        return IDLE_BYTES + self._said_offline + made + EXTENDED_BYTES * min(cots, EXTENSION)

    @cached_property
    def _said_offline(self) -> int:
        p = Party(None, engines=standard)
        setup(p, self.cots, self._plan)
        offline(p, self._plan)
        return sum(p.ledger.total(phase).bytes for phase in ("setup", "offline"))

    @cached_property
    def digest(self) -> bytes:
        """A hash of what this version of the program derives from the plan: its price, and its parameters.

        Both sides compare it before they begin.
        """
        return self._digest_with(standard)

    @cached_property
    def checked_digest(self) -> bytes:
        """The same where OT extension is checked; no other where the plan takes no OTs."""
        return self._digest_with(checked)

    def digest_for(self, check_ot: bool) -> bytes:
        return self.checked_digest if check_ot else self.digest

    def _digest_with(self, engines: Callable[[Party], Engines]) -> bytes:
        p = Party(None, engines=engines)
        setup(p, self.cots, self._plan)
        online(p, self._plan, offline(p, self._plan))
        rows = [
            (place.phase, place.label, cost.server, cost.client, cost.flights)
            for place, cost in p.ledger.rows.items()
        ]
        said = repr((rows, [str(product) for product in self._plan.products]))
        return hashlib.blake2b(said.encode(), digest_size=32).digest()
