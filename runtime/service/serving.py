"""A service that somebody operates: offers that can be loaded anew while it runs, counted and logged."""

from __future__ import annotations

import logging
import ssl
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from ..base.errors import BadInput, RuntimeFault
from ..session.handshake import Purpose, Request
from .background import Background
from .front import Front, Shown
from .gate import Limits
from .host import Duties, Guest, Host, kind_of
from .metrics import Gauge, Metrics, plain
from .offer import Offer
from .options import SessionOptions
from .parking import OnDisk
from .register import Listed
from .report import Outcome

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Goods:
    """What a service works with until it is told to load it anew."""

    offers: Sequence[Offer]
    context: ssl.SSLContext | None = None


class Service:
    """Serves what ``load`` gives, which is called once here and at every `reload`.

    Args:
        preparations: how many inferences a client may have prepared; none where it is 0.
        register: whom alone it answers, and how often a day; else everybody. It asks for their certificates.
        front: by whom all that ask for what is served here are sent on to other servers.
        keep_in: a folder for connections whose clients have left; else they are kept in memory.

    Raises BadInput where an inference needs more memory than all may have; what ``load`` raises.
    """

    def __init__(
        self,
        load: Callable[[], Goods],
        options: SessionOptions,
        limits: Limits,
        *,
        preparations: int = 0,
        register: Listed | None = None,
        front: Front | None = None,
        keep_in: Path | None = None,
    ) -> None:
        self._load = load
        self._limits = limits
        self._held = options.memory
        self._register = register
        self._front = front
        self._goods = self._loaded()
        purposes = tuple(Purpose) if preparations else (Purpose.RUN, Purpose.AHEAD)
        duties = Duties(
            purposes=purposes,
            preparations=preparations,
            kept=preparations,
            elsewhere=self._elsewhere,
            admit=self._admit,
            done=self._done,
            failed=self._failed,
        )
        self.metrics = Metrics()
        parking, goods = None, self._goods
        if keep_in is not None:
            parking = OnDisk(keep_in, limits.kept, limits.kept_seconds, check_ot=options.check_ot)
        self._host = host = Host(goods.offers, options, limits, duties, goods.context, parking)
        for name, help, value in (
            ("ppc_connections", "Open connections.", lambda: host.connections),
            ("ppc_running", "Programs that run.", lambda: host.gate.running),
            ("ppc_waiting", "Programs that wait for their turn.", lambda: host.gate.waiting),
            ("ppc_memory_bytes", "What those that run are predicted to hold.", lambda: host.gate.memory),
            ("ppc_kept", "Connections kept for their clients.", lambda: host.kept),
            ("ppc_ready", "Whether a client that comes now is heard.", lambda: host.ready),
        ):
            self.metrics.gauge(name, Gauge(help, plain(value)))
        self.metrics.gauge("ppc_prepared", Gauge("Prepared inferences that lie ready.", self._levels))

    def __repr__(self) -> str:
        return f"Service({self._host!r})"

    @property
    def ready(self) -> bool:
        """Whether a client that comes now is heard."""
        return self._host.ready

    def numbers(self) -> str:
        """For Prometheus."""
        return self.metrics.text()

    def run(self, address: tuple[str, int]) -> None:
        """Listen and answer until stopped. NetworkFault where nobody can listen there."""
        self._host.run(address)
        log.info("stopped")

    def start(self, address: tuple[str, int]) -> Background:
        """The same in a thread; it listens when this returns."""
        return Background(self._host, address)

    def stop(self) -> None:
        """Take no more clients, let what runs end; a second time: end it. Any thread may, and a signal."""
        self._host.stop()

    def reload(self) -> None:
        """Load everything anew, for connections from then on; what cannot be loaded changes nothing."""
        try:
            self._goods = self._loaded()
        except RuntimeFault as fault:
            log.error("nothing is loaded anew: %s", fault)
            return
        self._host.change(self._goods.offers, self._goods.context)
        log.info("loaded anew: plans %s", ", ".join(each.plan.hash[:12] for each in self._goods.offers))

    def reload_beside(self) -> None:
        """The same in a thread of its own, so that nobody waits for it; for a signal."""
        threading.Thread(target=self.reload, name="ppc-reload", daemon=True).start()

    def _loaded(self) -> Goods:
        goods = self._load()
        for offer in goods.offers:
            offer.warm()
            need, most = offer.memory(held=self._held), self._limits.memory
            if need > most:
                raise BadInput(
                    f"an inference of plan {offer.plan.hash[:12]} holds up to {need / 1e6:,.0f} MB, "
                    f"more than the {most / 1e6:,.0f} MB that all may have; raise --memory"
                )
        return goods

    def _levels(self) -> dict[tuple[tuple[str, str], ...], float]:
        return {(("plan", each.plan.hash[:12]),): each.level for each in self._goods.offers}

    def standing(self, shown: Shown) -> tuple[int, int]:
        """How much lies here of what a client shows, and what there is to do (`front.Standing`)."""
        offer = next((each for each in self._goods.offers if each.plan.of_hash(shown.plan)), None)
        held = offer.shelf_of(shown.name).lying(shown.ids) if offer else 0
        gate = self._host.gate
        return held + self._host.holds(shown.ticket), gate.running + gate.waiting + self._host.connections

    def _elsewhere(self, guest: Guest, request: Request) -> str | None:
        if self._front is None:
            return None
        if self._register is not None:
            self._register.known(guest.name)
        where = self._front.choose(guest.name, request)
        self.metrics.sent_on()
        log.info("%s is sent on to %s", guest.client, where)
        return where

    def _admit(self, guest: Guest, purpose: Purpose) -> None:
        if self._register is None:
            return
        if purpose is Purpose.RUN:
            self._register.count(guest.name)
        else:
            self._register.known(guest.name)

    def _done(self, guest: Guest, outcome: Outcome) -> None:
        self.metrics.done(outcome)
        done = outcome.done
        what = "prepared" if done.program.preparations else "answered"
        fields = {
            "client": guest.client,
            "did": what,
            "plan": done.plan.hash,
            "seconds": round(done.seconds, 3),
            "material": len(done.material),
        }
        log.info(
            "%s: %s plan %s in %.1f s", guest.client, what, done.plan.hash[:12], done.seconds,
            extra={"fields": fields},
        )  # fmt: skip

    def _failed(self, guest: Guest, fault: RuntimeFault) -> None:
        self.metrics.failed(fault)
        level = logging.WARNING if guest.asked else logging.INFO  # strangers come all day
        fields = {"client": guest.client, "fault": kind_of(fault), "asked": guest.asked}
        log.log(level, "%s: %s", guest.client, fault, extra={"fields": fields})
