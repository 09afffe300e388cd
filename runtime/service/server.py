"""The server's end for one plan: it answers inferences one after the other, and prepares them."""

from __future__ import annotations

import logging
import socket
from collections.abc import Callable, Generator
from pathlib import Path

from ..base.errors import RuntimeFault
from ..net.address import Address, parsed
from ..net.tls import ServerTls
from ..party.role import SERVER
from ..plan.file import Plan, Weights
from ..session.handshake import Purpose
from .background import Background
from .decoding import generates
from .gate import Limits
from .host import Duties, Guest, Host, accepted
from .offer import Offer
from .options import ADDRESS, SessionOptions
from .report import Outcome, Report
from .session import Session

log = logging.getLogger(__name__)


class Server:
    """Holds a plan and its weights; computes for one client at a time, while others are told their place.

    Args:
        store: where prepared material is; it is used where the client holds the other half.
        tls: certificate and key; without them whoever sits on the path can read and change what travels.

    Raises:
        BadPlan, RangeFault: weights that are not what the plan says, or beyond a bound that it announces.
    """

    def __init__(
        self,
        plan: Plan,
        weights: Weights,
        options: SessionOptions | None = None,
        *,
        store: str | Path | None = None,
        tls: ServerTls | None = None,
    ) -> None:
        self.plan = plan
        self._options = options or SessionOptions()
        self._offer = Offer(plan, weights, store=store, check_ot=self._options.check_ot)
        self._context = tls.context() if tls else None

    def __repr__(self) -> str:
        return f"Server(plan {self.plan.hash[:12]}, <weights>)"

    def serve(
        self,
        address: Address = ADDRESS,
        *,
        once: bool = False,
        done: Callable[[Report], None] = lambda report: None,
    ) -> None:
        """Listen and answer. A fault ends its connection with a line in the log.

        Args:
            address: where to listen; port 0 takes any free one, which the log tells.
            once: return after the first inference, of a plan that generates after the first client's; a
                fault of a client that has asked for it is raised.
            done: called with the report of each inference, of one that generates when its client has left:
                reckoning it would keep the next token waiting.
        """
        self._run(address, "serving", Purpose.RUN, once=once, done=lambda outcome: done(outcome.report))

    def answer(self, connection: socket.socket) -> Generator[Outcome, None, None]:
        """The inferences that a client asks for over a connected socket, which is closed at the end."""
        plan, weights, store = self.plan, self._offer.weights, self._offer.shelf_of(None).there()
        stream = accepted(connection, self._context, self._options)
        with Session(SERVER, stream, plan, weights=weights, store=store, options=self._options) as session:
            while (outcome := session.answer()) is not None:
                yield outcome

    def prepare(self, count: int, address: Address = ADDRESS) -> Outcome:
        """Wait for a client and prepare up to ``count`` inferences with it, as it asks."""
        return self._prepared(count, address)[0]

    def prepare_tokens(self, most: int, address: Address = ADDRESS) -> list[Outcome]:
        """Wait for a client and prepare a prompt and up to ``most`` tokens with it, as it asks: an outcome
        for each of the plan's programs among them. Raises BadInput for a plan that does not generate."""
        generates(self.plan)
        return self._prepared(most, address)

    def _prepared(self, count: int, address: Address) -> list[Outcome]:
        self._offer.shelf_of(None).made()
        outcomes: list[Outcome] = []
        self._run(address, "preparing", Purpose.PREPARE, count, once=True, done=outcomes.append)
        return outcomes

    def start(self, address: Address = ADDRESS) -> Background:
        """Serve in a thread, until `Background.stop`; NetworkFault where nobody can listen there."""
        host, _ = self._host(Purpose.RUN)
        return Background(host, parsed(address))

    def _run(
        self,
        address: Address,
        doing: str,
        purpose: Purpose,
        count: int = 0,
        *,
        once: bool,
        done: Callable[[Outcome], None],
    ) -> None:
        host, faults = self._host(purpose, count, once=once, done=done)
        host.run(parsed(address), doing)
        if faults:
            raise faults[0]

    def _host(
        self,
        purpose: Purpose,
        count: int = 0,
        *,
        once: bool = False,
        done: Callable[[Outcome], None] = lambda outcome: None,
    ) -> tuple[Host, list[RuntimeFault]]:
        """One that has a turn at a time, and with ``once`` the fault that has ended it, if any."""
        faults: list[RuntimeFault] = []
        told: dict[Guest, list[Outcome]] = {}
        several = bool(self.plan.states.added)

        def ended(guest: Guest, outcome: Outcome) -> None:
            if several:
                told.setdefault(guest, []).append(outcome)
                return
            done(outcome)
            if once:
                host.stop()

        def left(guest: Guest) -> None:
            outcomes = told.pop(guest, [])
            for outcome in outcomes:
                done(outcome)
            if once and outcomes:
                host.stop()

        def failed(guest: Guest, fault: RuntimeFault) -> None:
            log.warning("inference for %s failed: %s", guest.client, fault)
            if once and guest.asked:  # else it was a stranger's, and the client is still to come
                faults.append(fault)
                host.stop()

        purposes = (purpose, Purpose.AHEAD) if purpose is Purpose.RUN else (purpose,)
        duties = Duties(purposes=purposes, preparations=count, done=ended, failed=failed, left=left)
        host = Host([self._offer], self._options, Limits(at_once=1), duties, self._context)
        return host, faults
