"""The client's end: it asks for inferences, and prepares them."""

from __future__ import annotations

import asyncio
import threading
from collections import Counter
from collections.abc import AsyncIterator, Callable, Generator, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import TypeVar

from numpy.typing import ArrayLike

from ..base.errors import BadInput
from ..base.onnx_node import can_run
from ..net.address import Address, parsed
from ..net.tls import ClientTls
from ..plan.file import Outputs, Plan
from ..plan.local import by_onnx_runtime
from ..session.executor import Progress
from ..session.facts import facts
from ..session.inputs import ClientInput, naming, prompts
from .decoding import decode, programs
from .filling import Filling
from .lines import Line, Lines, Where
from .options import ADDRESS, SessionOptions
from .report import Outcome
from .sampling import Sampler
from .session import Session
from .shelf import Shelf

PATIENCE = 30.0

T = TypeVar("T")


class Client:
    """Holds a plan; sends nothing before its inputs are checked.

    Each call has a connection of its own, which goes on with what an earlier one has set up. In ``with`` (and
    ``async with``) one is kept open from call to call until the end; calls at the same time have one each::

        with Client(plan, address="host:7766") as client:
            for feeds in samples:
                outcome = client.run(feeds)

    For ``patience`` seconds it is tried again to connect, and to be served by a server that is busy; a server
    that has hung up between two calls is called again. Nothing else is: an inference that fails once it has
    begun raises, and to ask for it anew is safe, since that takes fresh material (`lines`).

    Args:
        address: where the server is, unless a call says otherwise.
        patience: seconds to wait for a server that does not listen yet, or is busy.
        store: as for `Server`.
        go_on: keep what a connection has set up for the next to the same server, which then pays no setup.
        ahead: how many inferences to have lie prepared in ``store``, of the length that ran last: they are
            made in a thread after an inference, while no other is asked for, with a server that has the time.
        tls: whom to trust; the server must then use TLS and hold a certificate for the name it is called by.
        progress: called with (phase, steps done, steps in all) while an inference or a preparation runs; an
            exception from it ends that.

    Raises BadInput where ``ahead`` has no store, or one to which nothing can be written; NotInstalled for a
    plan whose client computes something by ONNX Runtime, where that is not there.
    """

    def __init__(
        self,
        plan: Plan,
        options: SessionOptions | None = None,
        *,
        address: Address = ADDRESS,
        patience: float = PATIENCE,
        store: str | Path | None = None,
        ahead: int = 0,
        tls: ClientTls | None = None,
        go_on: bool = True,
        progress: Progress | None = None,
    ) -> None:
        if ahead and store is None:
            raise BadInput("what is prepared ahead has to lie somewhere: give a store too")
        for node in by_onnx_runtime(plan.local):
            can_run(node)
        options = options or SessionOptions()
        if progress is not None:
            options = replace(options, progress=lambda: nullcontext(progress))
        self.plan = plan
        self._address = parsed(address)
        self._shelf = Shelf(store, plan, None, check_ot=options.check_ot)
        context = tls.context() if tls else None
        self._lines = Lines(plan, options, patience=patience, context=context, go_on=go_on)
        self._ahead = ahead
        self._filling: dict[Where, Filling] = {}
        self._asking = 0
        self._lock = threading.Lock()
        if ahead:
            self._shelf.made()

    def __repr__(self) -> str:
        return f"Client(plan {self.plan.hash[:12]})"

    def __enter__(self) -> Client:
        self._lines.__enter__()
        return self

    def __exit__(self, kind: type[BaseException] | None, fault: object, trace: TracebackType | None) -> None:
        self.close()
        self._lines.__exit__(kind, fault, trace)

    async def __aenter__(self) -> Client:
        return self.__enter__()

    async def __aexit__(
        self, kind: type[BaseException] | None, fault: object, trace: TracebackType | None
    ) -> None:
        await asyncio.to_thread(self.__exit__, kind, fault, trace)

    def run(self, feeds: Mapping[str, ArrayLike], address: Address | None = None) -> Outcome:
        """One inference, at the shortest length that holds ``feeds``: outputs by name, and the report.

        Raises:
            BadInput: an input of the wrong name, shape, type or range, before anything is sent.
            RangeFault: a value that its fixed-point format cannot hold, before anything is sent.
            PeerMismatch, NetworkFault: as the handshake or the connection has it.
        """
        given = self._given(feeds)
        with self._line(address) as line:
            return line.ask(partial(Session.infer, given=given))

    def run_all(
        self, samples: Iterable[Mapping[str, ArrayLike]], address: Address | None = None
    ) -> Generator[Outcome, None, None]:
        """Inferences over one connection, so that all but the first pay no setup; otherwise as `run`.

        All ``samples`` are taken, and checked, before the first is asked for: a bad one is raised here, with
        its place, and nothing is sent.
        """
        given, every = [], list(samples)
        for i, feeds in enumerate(every):
            with naming(i, len(every), prompts(self.plan)):
                given.append(self._given(feeds))
        return self._asked(given, address)

    def _asked(self, given: Sequence[ClientInput], address: Address | None) -> Generator[Outcome, None, None]:
        with self._line(address) as line:
            for each in given:
                yield line.ask(partial(Session.infer, given=each))

    def generate(
        self,
        ids: Sequence[int],
        most: int,
        *,
        pick: Callable[[Outputs], int] | None = None,
        stop: Iterable[int] = (),
        address: Address | None = None,
    ) -> Generator[tuple[int, Outcome], None, None]:
        """Up to ``most`` tokens after the prompt ``ids``, over one connection, each with what it cost.

        Args:
            pick: the next token by the plan's outputs; the likeliest by default (`sampling.Sampler`).
            stop: tokens of which the first is the last.

        Raises BadInput, before anything is sent, for what is no prompt of the plan; otherwise as `run`. What
        is kept from token to token ends with the connection, so that only the first is tried again.
        """
        for each in self.plan.lengths:
            _ = facts(each).digest
        ending, lines = ExitStack(), list[Line]()

        def answer(length: Plan, feeds: Mapping[str, ArrayLike]) -> Outcome:
            given = ClientInput.at(length, feeds)
            if not lines:
                lines.append(ending.enter_context(self._line(address, carries=True)))
            return lines[0].ask(partial(Session.infer, given=given))

        return _ending(decode(self.plan, ids, most, answer, pick or Sampler(), frozenset(stop)), ending)

    def prepare(self, count: int, address: Address | None = None, *, seq_len: int | None = None) -> Outcome:
        """Setup and ``count`` offline phases, or as many as the server agrees to, for prompts that run at
        ``seq_len``, by default the greatest of the plan's lengths; of tokens that are made together, all of
        them. BadInput where it has no such length.
        """
        plan = self.plan if seq_len is None else self.plan.at_length(seq_len)
        _ = facts(plan).digest
        self._shelf.made()
        with self._line(address) as line:
            return line.ask(partial(Session.prepare, count=plan.files(count), plan=plan))

    async def run_async(self, feeds: Mapping[str, ArrayLike], address: Address | None = None) -> Outcome:
        """`run` beside an event loop, in a thread, which goes on to its end where this is cancelled."""
        return await asyncio.to_thread(self.run, feeds, address)

    async def prepare_async(
        self, count: int, address: Address | None = None, *, seq_len: int | None = None
    ) -> Outcome:
        """`prepare`, in the same way."""
        return await asyncio.to_thread(self.prepare, count, address, seq_len=seq_len)

    def run_all_async(
        self, samples: Iterable[Mapping[str, ArrayLike]], address: Address | None = None
    ) -> AsyncIterator[Outcome]:
        """`run_all` for ``async for``, in the same way; a bad sample is raised by its first turn."""
        return _beside(partial(self.run_all, samples, address))

    def generate_async(
        self,
        ids: Sequence[int],
        most: int,
        *,
        pick: Callable[[Outputs], int] | None = None,
        stop: Iterable[int] = (),
        address: Address | None = None,
    ) -> AsyncIterator[tuple[int, Outcome]]:
        """`generate` for ``async for``, in the same way."""
        return _beside(partial(self.generate, ids, most, pick=pick, stop=stop, address=address))

    def prepare_tokens(self, most: int, address: Address | None = None, *, prompt: int) -> list[Outcome]:
        """What needs no text of a prompt of so many tokens and of ``most`` that follow it: an outcome for
        each of the plan's programs among them. Raises BadInput where it does not hold these.
        """
        counts = Counter(each.hash for each in programs(self.plan, prompt, most))
        lengths = [each for each in self.plan.lengths if each.hash in counts]
        for each in lengths:
            _ = facts(each).digest
        self._shelf.made()
        with self._line(address) as line:
            return [
                line.ask(partial(Session.prepare, count=each.files(counts[each.hash]), plan=each))
                for each in lengths
            ]

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
    def _line(self, address: Address | None, *, carries: bool = False) -> Iterator[Line]:
        """Between two of which there is time to prepare ahead, where this one has run an inference."""
        where = self._address if address is None else parsed(address)
        with self._lock:
            self._asking += 1
        try:
            for filling in self._taken(where):
                filling.stop()
            with Line(self._lines, where, self._shelf.there(), carries=carries) as line:
                yield line
        finally:
            with self._lock:
                self._asking -= 1
        if line.ran is not None:
            self._fill(where, line.ran)

    def _fill(self, where: Where, plan: Plan) -> None:
        with self._lock:
            if self._ahead and not self._asking:
                store = self._shelf.made()
                opened = partial(self._lines.alone, where, store)
                self._filling[where] = Filling(opened, store.of(plan), plan, self._ahead)

    def _taken(self, *places: Where) -> list[Filling]:
        """What is being prepared there, which nobody else takes."""
        with self._lock:
            return [self._filling.pop(each) for each in places if each in self._filling]


def _ending(
    tokens: Iterator[tuple[int, Outcome]], ending: ExitStack
) -> Generator[tuple[int, Outcome], None, None]:
    """The tokens; the line is given back with them, or when nobody asks for more."""
    with ending:
        yield from tokens


async def _beside(make: Callable[[], Generator[T, None, None]]) -> AsyncIterator[T]:
    """What it makes, each in a thread; the one thread, so that it is not closed while it is at work."""
    loop, thread = asyncio.get_running_loop(), ThreadPoolExecutor(1, "ppc-client")
    try:
        every = await loop.run_in_executor(thread, make)
        try:
            while (found := await loop.run_in_executor(thread, next, every, None)) is not None:
                yield found
        finally:
            thread.submit(every.close)
    finally:
        thread.shutdown(wait=False)
