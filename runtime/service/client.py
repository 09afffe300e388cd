"""The client's end: it asks for inferences, and prepares them."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path

from numpy.typing import ArrayLike

from ..base.errors import BadInput
from ..net.address import Address, parsed
from ..net.stream import Stream
from ..net.tcp import connect
from ..net.tls import ClientTls, TlsStream
from ..party.role import CLIENT
from ..plan.file import Outputs, Plan
from ..session.connection import Connection
from ..session.facts import facts
from ..session.inputs import ClientInput, naming
from ..session.material import Store
from .decoding import decode
from .filling import Filling
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
        go_on: keep what a connection has set up for the next to the same server, which then pays no setup.
        ahead: how many inferences to have lie prepared in ``store``, of the length that ran last: they are
            made in a thread after an inference, while no other is asked for, with a server that has the time.
        tls: whom to trust; the server must then use TLS and hold a certificate for the name it is called by.

    Raises BadInput where ``ahead`` has no store, or one to which nothing can be written.
    """

    def __init__(
        self,
        plan: Plan,
        options: SessionOptions | None = None,
        *,
        patience: float = PATIENCE,
        store: str | Path | None = None,
        ahead: int = 0,
        tls: ClientTls | None = None,
        go_on: bool = True,
    ) -> None:
        if ahead and store is None:
            raise BadInput("what is prepared ahead has to lie somewhere: give a store too")
        self.plan = plan
        self._options = options or SessionOptions()
        self._patience = patience
        self._shelf = Shelf(store, plan, None, check_ot=self._options.check_ot)
        self._context = tls.context() if tls else None
        self._go_on = go_on
        self._kept: dict[tuple[str, int], Connection] = {}
        self._ahead = ahead
        self._filling: dict[tuple[str, int], Filling] = {}
        self._asking = 0
        self._lock = threading.Lock()
        if ahead:
            self._shelf.made()

    def __repr__(self) -> str:
        return f"Client(plan {self.plan.hash[:12]})"

    def run(self, feeds: Mapping[str, ArrayLike], address: Address = ADDRESS) -> Outcome:
        """One inference, at the shortest length that holds ``feeds``: outputs by name, and the report.

        Raises:
            BadInput: an input of the wrong name, shape, type or range, before anything is sent.
            RangeFault: a value that its fixed-point format cannot hold, before anything is sent.
            PeerMismatch, NetworkFault: as the handshake or the connection has it.
        """
        given = self._given(feeds)
        with self._session(address, self._shelf.there()) as session:
            return session.infer(given)

    async def run_async(self, feeds: Mapping[str, ArrayLike], address: Address = ADDRESS) -> Outcome:
        """The same beside an event loop, in a thread, which goes on to its end where this is cancelled."""
        return await asyncio.to_thread(self.run, feeds, address)

    def run_all(
        self, samples: Iterable[Mapping[str, ArrayLike]], address: Address = ADDRESS
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

    def _asked(self, given: Sequence[ClientInput], address: Address) -> Iterator[Outcome]:
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
        address: Address = ADDRESS,
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

    def prepare(self, count: int, address: Address = ADDRESS, *, seq_len: int | None = None) -> Outcome:
        """Setup and ``count`` offline phases, or as many as the server agrees to, for prompts that run at
        ``seq_len``, by default the greatest of the plan's lengths. BadInput where it has no such length.
        """
        plan = self.plan if seq_len is None else self.plan.at_length(seq_len)
        _ = facts(plan).digest
        with self._session(address, self._shelf.made()) as session:
            return session.prepare(count, plan)

    def settle(self) -> None:
        """Wait until what is prepared ahead is there, or the server has no room, or no time, for more."""
        for filling in self._taken(*self._filling):
            filling.settle()

    def close(self) -> None:
        """Prepare nothing more ahead than what is under way. The client may be used again."""
        for filling in self._taken(*self._filling):
            filling.stop()

    def _given(self, feeds: Mapping[str, ArrayLike]) -> ClientInput:
        """What a server hears from now on is heard without delay: all that takes time is done before."""
        given = ClientInput.of(self.plan, feeds)
        _ = facts(given.plan).digest
        return given

    @contextmanager
    def _session(self, at: Address, store: Store | None) -> Iterator[Session]:
        """Between two of which there is time to prepare ahead, where this one has run an inference."""
        address = parsed(at)
        with self._lock:
            self._asking += 1
        try:
            for filling in self._taken(address):
                filling.stop()
            with self._opened(address, store) as session:
                yield session
        finally:
            with self._lock:
                self._asking -= 1
        if session.ran is not None:
            self._fill(address, session.ran)

    def _fill(self, address: tuple[str, int], plan: Plan) -> None:
        with self._lock:
            if self._ahead and not self._asking:
                store = self._shelf.made()
                opened = partial(self._opened, address, store)
                self._filling[address] = Filling(opened, store.of(plan), plan, self._ahead)

    def _taken(self, *addresses: tuple[str, int]) -> list[Filling]:
        """What is being prepared there, which nobody else takes."""
        with self._lock:
            return [self._filling.pop(each) for each in addresses if each in self._filling]

    @contextmanager
    def _opened(self, address: tuple[str, int], store: Store | None) -> Iterator[Session]:
        """With what an earlier one has set up, where the server has kept it too and no other uses it now."""
        connection = self._connect(address)
        kept = self._kept.pop(address, None)
        session = Session(CLIENT, connection, self.plan, store=store, options=self._options, kept=kept)
        try:
            with session:
                yield session
        finally:
            if (kept := session.release()) is not None and self._go_on:
                self._kept[address] = kept

    def _connect(self, address: tuple[str, int]) -> socket.socket | Stream:
        connection = connect(address, self._patience)
        if self._context is None:
            return connection
        return TlsStream(connection, self._context, address[0], self._options.timeout)


def _ending(tokens: Iterator[tuple[int, Outcome]], ending: ExitStack) -> Iterator[tuple[int, Outcome]]:
    """The tokens; the connection ends with them, or when nobody asks for more."""
    with ending:
        yield from tokens
