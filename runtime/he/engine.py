"""Products of matrices under HE: the engine that keeps a connection's keys, and products in their parts.

    server -> client   a seed for public keys, once a connection
    client -> server   public keys of a parameter set, the first time that a program needs it

The server has answers computed in threads of their own, one for each core or as many as its `Workshop` says,
in the order of the uploads and ahead of the step that sends them, as far as `AHEAD_BYTES` reach: the kernels
release the interpreter, so that OT goes on beside them. Until then masks are seeds (`Drawn`).
"""

from __future__ import annotations

import os
import queue
from collections import deque
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from math import inf
from typing import Protocol

from ..base.errors import PeerMismatch
from ..base.prg import SEED_BYTES, Drawn
from ..base.ring import Ring, Signed, known
from ..base.wire import Buffer
from ..party.party import Party
from ..party.ports import MatrixProduct, Right
from ..party.role import CLIENT, SERVER
from .bfv import HeClient, HeServer, HeState, share_of
from .params import HeParams
from .product import (
    Product,
    answer_bytes,
    answer_parts,
    parameter_sets,
    public_key_bytes,
    upload_parts,
)
from .spool import Spool

MOST_WORKERS = 4
"""Answers in the making, each of which may hold `product.MEMORY_BYTES`."""

AHEAD_BYTES = 32 << 20
"""Of answers that are made, or in the making, before a step takes them; always one, however large."""


class Workshop(Protocol):
    """Where answers are computed."""

    @property
    def at_once(self) -> int:
        """Answers that it takes at a time, at least 1."""

    def answer(
        self,
        server: HeServer,
        product: Product,
        upload: Iterator[Buffer],
        right: Ring | Signed,
        mask: Drawn,
    ) -> Iterable[bytes]:
        """As `HeServer.answer`, of which it may have any number at work in as many threads."""


class Here:
    """In this process."""

    @property
    def at_once(self) -> int:
        return workers(len(os.sched_getaffinity(0)))

    def answer(
        self, server: HeServer, product: Product, upload: Iterator[Buffer], right: Ring | Signed, mask: Drawn
    ) -> Iterable[bytes]:
        return server.answer(product, upload, right, mask.ring)


HERE = Here()


class Answer:
    """The parts of one answer, as they become ready; ``size`` bytes together."""

    def __init__(self, size: int) -> None:
        self.size = size
        self._parts: queue.SimpleQueue[bytes | Exception] = queue.SimpleQueue()

    def __repr__(self) -> str:
        return "Answer(<encrypted>)"

    def put(self, part: bytes | Exception) -> None:
        self._parts.put(part)

    def next(self) -> bytes:
        """The next part. Raises what its computation raised; a malformed upload is the peer's fault."""
        part = self._parts.get()
        if isinstance(part, ValueError):
            raise PeerMismatch(f"the peer's encryptions are malformed: {part}") from None
        if isinstance(part, Exception):
            raise part
        return part


class HeEngine:
    """The client's secret keys, or the server's copy of the public ones; neither while pricing.

    Args:
        p: the party that it works for.
        ready: only while pricing: parameter sets whose keys an earlier program of the connection has sent.
        workshop: who computes the server's answers.
    """

    def __init__(self, p: Party, *, ready: Iterable[HeParams] = (), workshop: Workshop = HERE) -> None:
        self._p = p
        self._workshop = workshop
        self._ready = dict.fromkeys(ready)
        if self._ready and not p.pricing:
            raise ValueError("keys can be taken as sent while pricing only")
        self._client: HeClient | None = p.each(client=HeClient)
        self._seed: bytes | None = None
        self._server: HeServer | None = None
        self._pool: ThreadPoolExecutor | None = None
        self._waiting: deque[tuple[Answer, Callable[[], None]]] = deque()
        self._ahead = 0
        self._spool = Spool(inf)

    def __repr__(self) -> str:
        return f"HeEngine({self._client or self._server!r})"

    @property
    def ready(self) -> frozenset[Hashable]:
        return frozenset(self._ready)

    @property
    def client(self) -> HeClient:
        return known(self._client)

    def close(self) -> None:
        """Ends the server's threads after the products that they are at, if any; what waits is dropped."""
        self._waiting.clear()
        self._ahead = 0
        if self._pool is not None:
            self._pool.shutdown(wait=True, cancel_futures=True)
            self._pool = None

    @property
    def _workers(self) -> ThreadPoolExecutor:
        """The server's threads, made when they are first wanted."""
        if self._pool is None:
            self._pool = ThreadPoolExecutor(self._workshop.at_once, "ppc-he")
        return self._pool

    @property
    def state(self) -> HeState | None:
        """The server's, from where another engine may go on; None where there are no keys."""
        return None if self._server is None else self._server.state

    def resume(self, state: HeState) -> None:
        """At the server: go on from there instead of from keys that are still to come."""
        if self._ready:
            raise RuntimeError("an engine that has keys cannot go on from others")
        self._seed, self._server = state.seed, HeServer.resumed(state)
        self._ready = dict.fromkeys(params for params, _, _ in state.keys)

    def plan(self, products: Sequence[MatrixProduct]) -> None:
        """server -> client    the seed of public keys, the first time that there are any
        client -> server    public keys of the parameter sets that are new

        Raises PeerMismatch where they are malformed.
        """
        p = self._p
        new = [each for each in parameter_sets(map(_planned, products)) if each not in self._ready]
        if not new:
            return
        if not self._ready:
            seed = p.tell_bytes(SERVER, SEED_BYTES, lambda: p.prg.bytes(SEED_BYTES).tobytes())
            self._seed = None if seed is None else bytes(seed)
            self._server = p.each(server=lambda: HeServer(known(self._seed)))
        self._ready |= dict.fromkeys(new)
        size = sum(public_key_bytes(params) for params in new)
        keys = p.tell_bytes(CLIENT, size, lambda: self.client.add(new, known(self._seed)))
        p.each(server=lambda: self._read_keys(new, keys or b""))

    def _read_keys(self, sets: list[HeParams], keys: Buffer) -> None:
        try:
            known(self._server).add(sets, keys)
        except ValueError as error:
            raise PeerMismatch(f"the peer's public keys are malformed: {error}") from None

    def hold(self, memory: float) -> None:
        self._spool = Spool(memory)

    def begin(self, product: MatrixProduct, right: Right) -> PendingAnswer:
        """client -> server    Enc(U), in the parts of `upload_parts`

        The server's mask of the answer is drawn here, and one of its threads computes when there is room.
        """
        p, made = self._p, _planned(product)
        hides = p.each(server=lambda: p.prg.later(64, (made.batch, made.m, made.n)))
        upload: tuple[Ring, Iterator[bytes]] | None = p.each(client=lambda: self.client.upload(made))
        said = [p.tell_bytes(CLIENT, size, lambda: next(known(upload)[1])) for size in upload_parts(made)]
        answer = p.each(server=lambda: self._queue(made, _heard(said), right, known(hides)))
        return PendingAnswer(self, made, upload[0] if upload else None, hides, answer)

    def _queue(self, product: Product, upload: list[Buffer], right: Right, hides: Drawn) -> Answer:
        """Have one of the server's threads compute Enc(U·V - S), when there is room for it."""
        server, answer, parts = known(self._server), Answer(answer_bytes(product)), self._spool.put(upload)

        def job() -> None:
            try:
                for part in self._workshop.answer(server, product, parts, right(), hides):
                    answer.put(part)
            except Exception as fault:  # raised where the part is wanted
                answer.put(fault)

        self._waiting.append((answer, job))
        self._advance()
        return answer

    def _advance(self, wanted: Answer | None = None) -> None:
        """Give the threads what comes next, as far as there is room; up to ``wanted`` if it still waits."""
        late = any(answer is wanted for answer, _ in self._waiting)
        while self._waiting:
            answer, job = self._waiting[0]
            if not late and self._ahead and self._ahead + answer.size > AHEAD_BYTES:
                break
            self._waiting.popleft()
            self._ahead += answer.size
            self._workers.submit(job)
            late = late and answer is not wanted

    def finish(self, pending: PendingAnswer) -> Ring | None:
        """server -> client    Enc(U·V - S) in the parts of `answer_parts`; the party's share of U·V"""
        p, product, answer = self._p, pending.product, pending.answer
        p.each(server=lambda: self._advance(answer))
        said = [p.tell_bytes(SERVER, size, lambda: known(answer).next()) for size in answer_parts(product)]
        if answer is not None:
            self._ahead -= answer.size
            self._advance()
        return p.each(
            client=lambda: self.client.finish(product, _heard(said)),
            server=lambda: share_of(known(pending.hides).ring, product.ell),
        )


@dataclass(frozen=True, repr=False)
class PendingAnswer:
    """A product under way: the client's U, the server's mask of the answer, and the answer in the making."""

    engine: HeEngine
    product: Product
    mask: Ring | None
    hides: Drawn | None
    answer: Answer | None

    def finish(self) -> Ring | None:
        return self.engine.finish(self)


def workers(cores: int) -> int:
    """Threads for answers on so many cores."""
    return max(1, min(MOST_WORKERS, cores))


def _planned(product: MatrixProduct) -> Product:
    if not isinstance(product, Product):
        raise TypeError(f"{product} says nothing of tiles and parameters, which this engine needs")
    return product


def _heard(parts: list[Buffer | None]) -> list[Buffer]:
    return [part for part in parts if part is not None]
