"""The HE half of a run: keys from setup on, and products exchanged in parts.

    client -> server   public keys of every parameter set that the plan uses, once

The server computes answers in threads of their own, one for each core, in the order of the uploads and ahead
of the step that sends them: the kernels release the interpreter, so that OT goes on beside them.
"""

from __future__ import annotations

import os
import queue
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor

from ..base.errors import PeerMismatch
from ..base.ring import Ring, Signed, known
from ..base.wire import Buffer
from ..party.party import Party
from ..party.role import CLIENT, SERVER
from .bfv import HeClient, HeServer
from .params import HeParams
from .product import Product, answer_parts, parameter_sets, public_key_bytes, upload_parts

MOST_WORKERS = 4
"""Answers in the making, each of which may hold `he_product.MEMORY_BYTES`."""

Matrices = Callable[[], Ring | Signed]
"""Gives the server's V."""


class Answer:
    """The parts of one answer, as they become ready."""

    def __init__(self) -> None:
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


class HeSession:
    """The client's secret keys, or the server's copy of the public ones; neither while pricing.

    Raises PeerMismatch where the client's public keys are malformed.
    """

    def __init__(self, p: Party, products: Iterable[Product]) -> None:
        sets = parameter_sets(products)
        self._client: HeClient | None = p.each(client=lambda: HeClient(sets))
        size = sum(public_key_bytes(params) for params in sets)
        keys = p.tell_bytes(CLIENT, size, lambda: self.client.public_keys())
        self._server: HeServer | None = p.each(server=lambda: _server(sets, keys or b""))
        self._worker = (
            ThreadPoolExecutor(workers(len(os.sched_getaffinity(0))), "ppc-he")
            if self._server is not None
            else None
        )

    def __repr__(self) -> str:
        return f"HeSession({self._client or self._server!r})"

    def close(self) -> None:
        """Ends the server's threads after the products that they are at, if any; what waits is dropped."""
        if self._worker is not None:
            self._worker.shutdown(wait=True, cancel_futures=True)

    @property
    def client(self) -> HeClient:
        return known(self._client)

    def upload(self, p: Party, product: Product) -> tuple[Ring | None, list[Buffer] | None]:
        """client -> server    Enc(u)

        A new uniform u (batch, m, k) at the client, the parts at the server.
        """
        made: tuple[Ring, Iterator[bytes]] | None = p.each(client=lambda: self.client.upload(product))
        said = [p.tell_bytes(CLIENT, size, lambda: next(known(made)[1])) for size in upload_parts(product)]
        return p.each(client=lambda: (known(made)[0], None), server=lambda: (None, said)) or (None, None)

    def start(self, product: Product, upload: list[Buffer], matrices: Matrices, mask: Ring) -> Answer:
        """Have one of the server's threads compute Enc(u·V - mask)."""
        server, answer = known(self._server), Answer()

        def job() -> None:
            try:
                for part in server.answer(product, _consumed(upload), matrices(), mask):
                    answer.put(part)
            except Exception as fault:  # raised where the part is wanted
                answer.put(fault)

        known(self._worker).submit(job)
        return answer

    def finish(self, p: Party, product: Product, answer: Answer | None) -> Ring | None:
        """server -> client    the answer in its parts; u·V - mask, at the client."""
        said = [p.tell_bytes(SERVER, size, lambda: known(answer).next()) for size in answer_parts(product)]
        return p.each(client=lambda: self.client.finish(product, [x for x in said if x is not None]))  # type: ignore[no-any-return]


def workers(cores: int) -> int:
    """Threads for answers on so many cores."""
    return max(1, min(MOST_WORKERS, cores))


def _server(sets: list[HeParams], keys: Buffer) -> HeServer:
    try:
        return HeServer(sets, keys)
    except ValueError as error:
        raise PeerMismatch(f"the peer's public keys are malformed: {error}") from None


def _consumed(parts: list[Buffer]) -> Iterator[Buffer]:
    """The parts in order, each forgotten once it is taken."""
    parts.reverse()
    while parts:
        yield parts.pop()
