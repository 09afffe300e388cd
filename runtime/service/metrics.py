"""What a server has done, in numbers that tell nothing of anyone: counters, and gauges.

The text is Prometheus's exposition format 0.0.4: a line a value, its labels in braces.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from ..base.errors import RuntimeFault
from ..party.ledger import PHASES
from .gate import TurnedAway
from .host import kind_of
from .report import Outcome

Labels = tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Gauge:
    """A value that is read when it is asked for."""

    help: str
    read: Callable[[], Mapping[Labels, float]]


def plain(value: Callable[[], float]) -> Callable[[], Mapping[Labels, float]]:
    """Of a gauge without labels."""
    return lambda: {(): value()}


COUNTERS = {
    "ppc_inferences_total": "Inferences answered.",
    "ppc_prepared_total": "Inferences prepared.",
    "ppc_material_used_total": "Inferences that used prepared material.",
    "ppc_phase_seconds_total": "Seconds spent, by phase.",
    "ppc_sent_bytes_total": "Bytes that the protocols have sent.",
    "ppc_received_bytes_total": "Bytes that the protocols have received.",
    "ppc_refusals_total": "Clients told to come again, by reason.",
    "ppc_faults_total": "Connections that ended by a fault, by kind.",
    "ppc_sent_on_total": "Clients sent on to a server that answers them.",
}

Rows = dict[str, tuple[str, str, dict[Labels, float]]]
"""By name: help, kind, and values by their labels."""


class Metrics:
    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._counts: dict[str, dict[Labels, float]] = {name: {} for name in COUNTERS}
        self._gauges: dict[str, Gauge] = {}

    def gauge(self, name: str, gauge: Gauge) -> None:
        """One more to be read."""
        self._gauges[name] = gauge

    def done(self, outcome: Outcome) -> None:
        """A program has ended well."""
        program, ledger = outcome.done.program, outcome.done.ledger
        plan: Labels = (("plan", outcome.done.plan.hash[:12]),)
        with self._lock:
            if program.preparations:
                self._add("ppc_prepared_total", plan, program.preparations)
            else:
                self._add("ppc_inferences_total", plan, 1)
                self._add("ppc_material_used_total", plan, len(outcome.material))
            for phase in PHASES:
                cost = ledger.total(phase)
                self._add("ppc_phase_seconds_total", (("phase", phase),), cost.seconds)
                self._add("ppc_sent_bytes_total", (("phase", phase),), cost.server)
                self._add("ppc_received_bytes_total", (("phase", phase),), cost.client)

    def failed(self, fault: RuntimeFault) -> None:
        """A connection has ended otherwise."""
        refused = isinstance(fault, TurnedAway)
        name, label = ("ppc_refusals_total", "reason") if refused else ("ppc_faults_total", "kind")
        with self._lock:
            self._add(name, ((label, kind_of(fault)),), 1)

    def sent_on(self) -> None:
        """A client was told where it is answered."""
        with self._lock:
            self._add("ppc_sent_on_total", (), 1)

    def rows(self) -> Rows:
        """All of it."""
        with self._lock:
            rows = {name: (help, "counter", dict(self._counts[name])) for name, help in COUNTERS.items()}
        for name, gauge in self._gauges.items():
            rows[name] = (gauge.help, "gauge", dict(gauge.read()))
        return rows

    def text(self) -> str:
        """The same as Prometheus reads it."""
        return exposition(self.rows())

    def _add(self, name: str, labels: Labels, value: float) -> None:
        counts = self._counts[name]
        counts[labels] = counts.get(labels, 0) + value


def exposition(rows: Rows) -> str:
    """The text of ``rows``."""
    return "".join(
        f"# HELP {name} {help}\n# TYPE {name} {kind}\n"
        + "".join(f"{name}{_braced(labels)} {value:.16g}\n" for labels, value in values.items())
        for name, (help, kind, values) in rows.items()
    )


def joined(label: str, several: Mapping[str, Rows]) -> Rows:
    """The rows of several servers, each told apart by the value of ``label``."""
    out: Rows = {}
    for value, rows in several.items():
        for name, (help, kind, values) in rows.items():
            found = out.setdefault(name, (help, kind, {}))[2]
            found |= {((label, value), *labels): each for labels, each in values.items()}
    return out


def _braced(labels: Labels) -> str:
    """Names and values are the program's own words: none holds a quote."""
    return "{" + ",".join(f'{name}="{value}"' for name, value in labels) + "}" if labels else ""
