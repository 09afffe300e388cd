"""A connection over a socket, from its beginning to its end: what a server and a client have in common."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from types import TracebackType

from ..base.errors import PeerLeft
from ..net.channel import Channel
from ..net.deadline import OPENING_SECONDS
from ..net.stream import Stream
from ..net.tcp import TcpTransport, link
from ..party.party import Party
from ..party.role import SERVER, Role
from ..plan.file import Plan, Weights
from ..session.connection import Connection, Done
from ..session.engines import checked, standard
from ..session.executor import Progress
from ..session.handshake import InferenceTerms, PreparationTerms
from ..session.inputs import ClientInput
from ..session.material import Store
from .options import SessionOptions
from .report import Outcome


class Session:
    """Inferences and preparations over one connected socket, which is closed at the end.

    A fault in one of them ends the session: nothing can be asked of it afterwards.

    Args:
        weights: the server's.
        store: where this side's prepared material is. It is used where both sides hold it.
    """

    def __init__(
        self,
        role: Role,
        sock: socket.socket | Stream,
        plan: Plan,
        *,
        weights: Weights | None = None,
        store: Store | None = None,
        options: SessionOptions | None = None,
    ) -> None:
        self._options = options or SessionOptions()
        timeout, shape = self._options.timeout, self._options.shape
        # a client speaks first, and at once; it waits where the server still answers another
        opening = min(timeout, OPENING_SECONDS) if role is SERVER else None
        self._plan = plan
        self._weights = weights
        self._store = store
        self._network = link(sock, shape)
        self._channel = Channel(TcpTransport(sock, timeout, shape, opening))
        self._party = Party(role, self._channel, checked if self._options.check_ot else standard)
        self._connection = Connection(self._party)
        self._programs = 0

    def __repr__(self) -> str:
        return f"Session({self._connection!r}, plan {self._plan.hash[:12]})"

    def __enter__(self) -> Session:
        return self

    def __exit__(self, kind: type[BaseException] | None, fault: object, trace: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Say what is left to say, and end."""
        self._channel.close()
        self._party.close()
        self._connection.close()

    def infer(self, given: ClientInput | None = None) -> Outcome:
        """One inference; the client gives its input.

        Raises PeerMismatch, NetworkFault, RangeFault.
        """
        plan, store = self._plan, self._store
        if given is not None and given.plan.hash != plan.hash:
            plan, store = given.plan, None  # material is prepared for the greatest length
        terms = InferenceTerms(store)
        encoded = None if given is None else given.encoded
        with self._program() as progress:
            done = self._connection.infer(
                plan, terms, weights=self._weights, encoded=encoded, progress=progress
            )
        return self._outcome(done)

    def prepare(self, count: int) -> Outcome:
        """The offline phases of ``count`` inferences, or as many as the peer wants, into the store."""
        if self._store is None:
            raise ValueError("preparing needs a store")
        with self._program() as progress:
            done = self._connection.prepare(
                self._plan,
                PreparationTerms(count),
                store=self._store,
                weights=self._weights,
                progress=progress,
            )
        return self._outcome(done)

    def answer(self) -> Outcome | None:
        """At the server: the client's next inference; None where it has had one and asks for no more."""
        heard = self._channel.received
        try:
            return self.infer()
        except PeerLeft:
            if self._programs and self._channel.received == heard:
                return None
            raise

    @contextmanager
    def _program(self) -> Iterator[Progress | None]:
        """Two sides that have lost step have nothing more to say to each other, so a fault is the end."""
        try:
            with self._options.progress() if self._options.progress else nullcontext() as progress:
                yield progress
        except BaseException:
            self.close()
            raise

    def _outcome(self, done: Done) -> Outcome:
        self._programs += 1
        assert self._party.role is not None
        return Outcome(self._party.role, done, self._network)
