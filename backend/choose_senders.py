"""Which side sends the tables of a comparison of few elements: the one that comes to it later.

The other speaks first. A side that only sends goes on, so the two are rarely at the same flight, and the side
that is asked too late costs one that the other would not have needed. A dry run says who that is.
"""

from __future__ import annotations

import msgspec

from ppc.runtime.party.party import Party
from ppc.runtime.plan.file import Plan
from ppc.runtime.plan.steps import AnyStep, Maximum, Spline
from ppc.runtime.session.engines import counting
from ppc.runtime.session.executor import online
from ppc.runtime.session.facts import Facts
from ppc.runtime.session.held import Held


def choose_senders(plan: Plan) -> Plan:
    """The plan with the senders of its splines and maxima: fewer flights for as many bytes online."""
    p = Party(None, engines=counting)
    chosen = _Chosen(p, plan, Facts(plan).dry_material(1))  # of those that are made together, not the first
    online(p, plan, chosen)
    return msgspec.structs.replace(plan, steps=tuple(chosen.steps))


class _Chosen(Held):
    """Material without data, of which each comparison's is for the sender that is chosen as it begins.

    Attributes:
        steps: those of the plan, as chosen.
    """

    def __init__(self, p: Party, plan: Plan, made: Held) -> None:
        super().__init__()
        self.steps: list[AnyStep] = list(plan.steps)
        self._p, self._plan, self._made = p, plan, made

    def take(self, index: int) -> object:
        step, made = self.steps[index], self._made.take(index)
        if not isinstance(step, Spline | Maximum):
            return made
        self.steps[index] = step = msgspec.structs.replace(step, sender=self._p.ledger.later)
        return step.offline(self._p, None, self._plan.forms[step.x])
