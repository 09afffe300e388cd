"""The report of a run, as the role that writes it sees it, beside the prediction."""

from __future__ import annotations

import resource
from typing import Any

from .ledger import PHASES, SERVER, Cost, Ledger, Role
from .plan import Plan


def report(plan: Plan, role: Role, measured: Ledger, predicted: Ledger, seconds: float) -> dict[str, Any]:
    """The JSON document of ``ppc run --report``."""
    foretold = {phase: _seen(role, predicted.total(phase)) for phase in PHASES}
    for phase in PHASES:
        foretold[phase].pop("seconds")
    return {
        "plan": plan.hash,
        "role": role.value,
        "seconds": round(seconds, 6),
        "peak_memory": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
        **{phase: _seen(role, measured.total(phase)) for phase in PHASES},
        "predicted": foretold,
        "steps": [
            {
                "step": step,
                "layer": layer_of(step),
                "phase": phase,
                **_seen(role, cost),
                "predicted": {k: v for k, v in _seen(role, predicted.rows[phase, step]).items() if k != "seconds"},
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
