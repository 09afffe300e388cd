"""The report of a run, as the role that writes it sees it, beside the prediction."""

from __future__ import annotations

import resource
from collections.abc import Mapping
from typing import Any

from ..party.ledger import PHASES, Cost, Ledger
from ..party.role import SERVER, Role
from ..plan.file import Plan


def report(
    plan: Plan,
    role: Role,
    measured: Ledger,
    predicted: Ledger,
    seconds: float,
    foretold: Mapping[tuple[str, str], Mapping[Role, float]],
) -> dict[str, Any]:
    """The JSON document of ``ppc run --report``.

    Args:
        predicted: bytes and flights as the priced walk has them.
        seconds: of the whole session.
        foretold: seconds of each role by phase and step, for the machine's rates; see `timeline`.
    """

    def foreseen(place: tuple[str, str]) -> dict[str, Any]:
        return _seen(role, predicted.rows[place]) | {"seconds": round(foretold[place][role], 6)}

    return {
        "plan": plan.hash,
        "role": role.value,
        "seconds": round(seconds, 6),
        "peak_memory": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
        **{phase: _seen(role, measured.total(phase)) for phase in PHASES},
        "predicted": {
            phase: _seen(role, predicted.total(phase))
            | {"seconds": round(sum(row[role] for (at, _), row in foretold.items() if at == phase), 6)}
            for phase in PHASES
        },
        "steps": [
            {
                "step": step,
                "layer": layer_of(step),
                "phase": phase,
                **_seen(role, cost),
                "predicted": foreseen((phase, step)),
            }
            for (phase, step), cost in measured.rows.items()
        ],
    }


def layer_of(step: str) -> str:
    """The part of a label that says where in the model the step belongs."""
    parts = step.split(" ", 2)
    if len(parts) < 3 or not parts[0].isdigit():
        return ""
    return parts[2].rsplit("/", 1)[0]


def _seen(role: Role, cost: Cost) -> dict[str, Any]:
    sent, received = (cost.server, cost.client) if role is SERVER else (cost.client, cost.server)
    return {"seconds": round(cost.seconds, 6), "sent": sent, "received": received, "flights": cost.flights}
