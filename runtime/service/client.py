"""The client's end: it asks for inferences, and prepares them."""

from __future__ import annotations

import asyncio
import socket
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from numpy.typing import ArrayLike

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
from .decoding import decode, programs
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
        tls: whom to trust; the server must then use TLS and hold a certificate for the name it is called by.
    """

    def __init__(
        self,
        plan: Plan,
        options: SessionOptions | None = None,
        *,
        patience: float = PATIENCE,
        store: str | Path | None = None,
        tls: ClientTls | None = None,
        go_on: bool = True,
    ) -> None:
        self.plan = plan
        self._options = options or SessionOptions()
        self._patience = patience
        self._shelf = Shelf(store, plan, None, check_ot=self._options.check_ot)
        self._context = tls.context() if tls else None
        self._go_on = go_on
        self._kept: dict[tuple[str, int], Connection] = {}

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

    def prepare_tokens(self, most: int, address: Address = ADDRESS, *, prompt: int) -> list[Outcome]:
        """What needs no text of a prompt of so many tokens and of ``most`` that follow it: an outcome for
        each of the plan's programs among them. Raises BadInput where it does not hold these.
        """
        counts = Counter(each.hash for each in programs(self.plan, prompt, most))
        lengths = [each for each in self.plan.lengths if each.hash in counts]
        for each in lengths:
            _ = facts(each).digest
        with self._session(address, self._shelf.made()) as session:
            return [session.prepare(counts[each.hash], each) for each in lengths]

    def _given(self, feeds: Mapping[str, ArrayLike]) -> ClientInput:
        """What a server hears from now on is heard without delay: all that takes time is done before."""
        given = ClientInput.of(self.plan, feeds)
        _ = facts(given.plan).digest
        return given

    @contextmanager
    def _session(self, at: Address, store: Store | None) -> Iterator[Session]:
        """With what an earlier one has set up, where the server has kept it too and no other uses it now."""
        address = parsed(at)
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
