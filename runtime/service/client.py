"""The client's end: it asks for inferences, and prepares them."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path

from numpy.typing import ArrayLike

from ..net.stream import Stream
from ..net.tcp import connect
from ..net.tls import ClientTls, TlsStream
from ..party.role import CLIENT
from ..plan.file import Outputs, Plan
from ..session.facts import facts
from ..session.inputs import ClientInput, naming
from ..session.material import Store
from .decoding import decode
from .options import ADDRESS, SessionOptions
from .report import Outcome
from .sampling import Sampler
from .session import Session
from .shelf import Shelf

PATIENCE = 30.0


class Client:
    """Holds a plan; sends nothing before its inputs are checked.

    Args:
        patience: seconds to wait for a server that does not listen yet.
        store: as for `Server`.
        tls: whom to trust; the server must then use TLS and hold a certificate for the name it is called by.
    """

    def __init__(
        self,
        plan: Plan,
        options: SessionOptions | None = None,
        *,
        patience: float = PATIENCE,
        store: Path | None = None,
        tls: ClientTls | None = None,
    ) -> None:
        self.plan = plan
        self._options = options or SessionOptions()
        self._patience = patience
        self._shelf = Shelf(store, plan, None, check_ot=self._options.check_ot)
        self._context = tls.context() if tls else None

    def __repr__(self) -> str:
        return f"Client(plan {self.plan.hash[:12]})"

    def run(self, feeds: Mapping[str, ArrayLike], address: tuple[str, int] = ADDRESS) -> Outcome:
        """One inference, at the shortest length that holds ``feeds``: outputs by name, and the report.

        Raises:
            BadInput: an input of the wrong name, shape, type or range, before anything is sent.
            RangeFault: a value that its fixed-point format cannot hold, before anything is sent.
            PeerMismatch, NetworkFault: as the handshake or the connection has it.
        """
        given = self._given(feeds)
        with self._session(address, self._shelf.there()) as session:
            return session.infer(given)

    def run_all(
        self, samples: Iterable[Mapping[str, ArrayLike]], address: tuple[str, int] = ADDRESS
    ) -> Iterator[Outcome]:
        """Inferences over one connection, so that all but the first pay no setup; otherwise as `run`.

        All ``samples`` are taken, and checked, before the first is asked for: a bad one is raised here, with
        its place, and nothing is sent.
        """
        given, every = [], list(samples)
        for i, feeds in enumerate(every):
            with naming(i, len(every)):
                given.append(self._given(feeds))
        return self._asked(given, address)

    def _asked(self, given: Sequence[ClientInput], address: tuple[str, int]) -> Iterator[Outcome]:
        if not given:
            return
        with self._session(address, self._shelf.there()) as session:
            for each in given:
                yield session.infer(each)

    def generate(
        self,
        ids: Sequence[int],
        most: int,
        *,
        pick: Callable[[Outputs], int] | None = None,
        stop: Iterable[int] = (),
        address: tuple[str, int] = ADDRESS,
    ) -> Iterator[tuple[int, Outcome]]:
        """Up to ``most`` tokens after the prompt ``ids``, over one connection, each with what it cost.

        Args:
            pick: the next token by the plan's outputs; the likeliest by default (`sampling.Sampler`).
            stop: tokens of which the first is the last.

        Raises BadInput, before anything is sent, for what is no prompt of the plan; otherwise as `run`.
        """
        for each in self.plan.lengths:
            _ = facts(each).digest
        ending = ExitStack()
        sessions: list[Session] = []

        def answer(length: Plan, feeds: Mapping[str, ArrayLike]) -> Outcome:
            given = ClientInput.at(length, feeds)
            if not sessions:
                sessions.append(ending.enter_context(self._session(address, self._shelf.there())))
            return sessions[0].infer(given)

        return _ending(decode(self.plan, ids, most, answer, pick or Sampler(), frozenset(stop)), ending)

    def prepare(self, count: int, address: tuple[str, int] = ADDRESS) -> Outcome:
        """Setup and ``count`` offline phases, or as many as the server agrees to."""
        with self._session(address, self._shelf.made()) as session:
            return session.prepare(count)

    def _given(self, feeds: Mapping[str, ArrayLike]) -> ClientInput:
        """What a server hears from now on is heard without delay: all that takes time is done before."""
        given = ClientInput.of(self.plan, feeds)
        _ = facts(given.plan).digest
        return given

    def _session(self, address: tuple[str, int], store: Store | None) -> Session:
        return Session(CLIENT, self._connect(address), self.plan, store=store, options=self._options)

    def _connect(self, address: tuple[str, int]) -> socket.socket | Stream:
        connection = connect(address, self._patience)
        if self._context is None:
            return connection
        return TlsStream(connection, self._context, address[0], self._options.timeout)


def _ending(tokens: Iterator[tuple[int, Outcome]], ending: ExitStack) -> Iterator[tuple[int, Outcome]]:
    """The tokens; the connection ends with them, or when nobody asks for more."""
    with ending:
        yield from tokens
