"""What a program leaves to its user: the outputs, and a report of what it cost beside what was predicted."""

from __future__ import annotations

import resource
from dataclasses import dataclass
from functools import cached_property
from typing import TypedDict

from ..base.errors import RangeFault
from ..cost.forecast import Forecast, predict_time_here
from ..net.network import Network
from ..party.ledger import PHASES, Cost, Ledger
from ..party.role import SERVER, Role
from ..plan.file import Outputs
from ..session.connection import Done, predict_cost


class Seen(TypedDict):
    """Seconds, bytes and flights as one role sees them."""

    seconds: float
    sent: int
    received: int
    flights: int


class StepReport(Seen):
    step: str
    layer: str
    phase: str
    predicted: Seen


class Report(TypedDict):
    """The JSON document of ``ppc run --report``. ``peak_memory`` is in bytes, ``material`` are ids,
    ``left`` is what left its limits at the client by the word of the guard, ``predicted_seconds`` whose
    seconds are foretold: "on this machine" or "on the reference machine"."""

    plan: str
    role: str
    seconds: float
    peak_memory: int
    setup: Seen
    offline: Seen
    online: Seen
    predicted: dict[str, Seen]
    predicted_seconds: str
    steps: list[StepReport]
    material: list[str]
    left: list[str]


@dataclass(frozen=True, repr=False)
class Outcome:
    """What an inference, or a preparation, leaves at one side."""

    role: Role
    done: Done
    network: Network

    def __repr__(self) -> str:
        names = () if self.done.answer is None else self.done.answer.outputs
        return f"Outcome(outputs {', '.join(names) or 'at the peer'}, <secret>)"

    @property
    def outputs(self) -> Outputs | None:
        """The outputs by name, at the client.

        Raises RangeFault where the guard says that they are not to be trusted.
        """
        if self.left:
            raise RangeFault(
                f"{', '.join(self.left)} left what the plan was calibrated for: the answer is not to be "
                "trusted. Calibrate on samples that go as far, or compile with a larger --margin"
            )
        return None if self.done.answer is None else self.done.answer.outputs

    @property
    def left(self) -> tuple[str, ...]:
        """What left its limits by the word of the guard: tensors, or that there is one; empty where all is
        well, and where the plan has no guard."""
        return () if self.done.answer is None else self.done.answer.left

    @property
    def material(self) -> tuple[str, ...]:
        """Ids of the prepared material that was used (one, or none), or that was made."""
        return self.done.material

    @cached_property
    def report(self) -> Report:
        """What it cost; reckoned when it is asked for."""
        done = self.done
        predicted = predict_cost(done.plan, done.program)
        forecast = predict_time_here(done.plan, self.network, done.program)
        return report(self.role, done, predicted, forecast)


def report(role: Role, done: Done, predicted: Ledger, forecast: Forecast) -> Report:
    """``done`` as ``role`` saw it, beside bytes and flights as ``predicted``, seconds as in ``forecast``."""

    def phase(ledger: Ledger, name: str) -> Seen:
        return _seen(role, ledger.total(name))

    def foreseen(name: str) -> Seen:
        return {**phase(predicted, name), "seconds": round(forecast.total(name, role), 6)}

    return {
        "plan": done.plan.hash,
        "role": role.value,
        "seconds": round(done.seconds, 6),
        "peak_memory": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
        "setup": phase(done.ledger, "setup"),
        "offline": phase(done.ledger, "offline"),
        "online": phase(done.ledger, "online"),
        "predicted": {name: foreseen(name) for name in PHASES},
        "predicted_seconds": forecast.where,
        "steps": [
            {
                "step": place.label,
                "layer": place.layer,
                "phase": place.phase,
                **_seen(role, cost),
                "predicted": {
                    **_seen(role, predicted.rows[place]),
                    "seconds": round(forecast.seconds[place][role], 6),
                },
            }
            for place, cost in done.ledger.rows.items()
        ],
        "material": list(done.material),
        "left": [] if done.answer is None else list(done.answer.left),
    }


def _seen(role: Role, cost: Cost) -> Seen:
    sent, received = (cost.server, cost.client) if role is SERVER else (cost.client, cost.server)
    return {
        "seconds": round(cost.seconds, 6),
        "sent": sent,
        "received": received,
        "flights": cost.flights,
    }
