"""The HE half of a run: keys from setup on, and products exchanged in parts.

client -> server   public keys of every parameter set that the plan uses, once
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from .channel import Buffer
from .errors import PeerMismatch
from .he import HeClient, HeServer
from .he_product import Product, answer_parts, parameter_sets, public_key_bytes, upload_parts
from .ledger import CLIENT, SERVER
from .party import Party
from .ring import Ring, known


class HeSession:
    """The client's secret keys, or the server's copy of the public ones; neither while pricing."""

    def __init__(self, p: Party, products: Iterable[Product]) -> None:
        sets = parameter_sets(products)
        self._client: HeClient | None = p.each(client=lambda: HeClient(sets))
        size = sum(public_key_bytes(params) for params in sets)
        keys = p.tell_bytes(CLIENT, size, lambda: self.client.public_keys())
        self._server: HeServer | None = p.each(server=lambda: HeServer(sets, keys or b""))

    def __repr__(self) -> str:
        return f"HeSession({self._client or self._server!r})"

    @property
    def client(self) -> HeClient:
        assert self._client is not None
        return self._client

    def upload(self, p: Party, product: Product, u: Ring | None, second: Ring | None) -> list[Buffer] | None:
        """client -> server    Enc(u) [, Enc(second)]; the parts, at the server."""
        parts: Iterator[bytes] = p.each(client=lambda: self.client.upload(product, known(u), second))
        said = [p.tell_bytes(CLIENT, size, lambda: next(parts)) for size in upload_parts(product)]
        return p.each(server=lambda: said)  # type: ignore[no-any-return]

    def answer(
        self,
        p: Party,
        product: Product,
        upload: list[Buffer] | None,
        v: Ring | None,
        mask: Ring | None,
        q: Ring | None,
    ) -> Ring | None:
        """server -> client    Enc(u·v [+ q·second] - mask); the product, at the client.

        Raises PeerMismatch where an upload is malformed.
        """
        server = self._server
        made: Iterator[bytes] | None = None
        if server is not None:
            made = server.answer(product, _consumed(known(upload)), known(v), known(mask), q)

        def part() -> bytes:
            assert made is not None
            try:
                return next(made)
            except ValueError as error:
                raise PeerMismatch(f"the peer's encryptions are malformed: {error}") from None

        said = [p.tell_bytes(SERVER, size, part) for size in answer_parts(product)]
        return p.each(client=lambda: self.client.finish(product, [x for x in said if x is not None]))  # type: ignore[no-any-return]


def _consumed(parts: list[Buffer]) -> Iterator[Buffer]:
    """The parts in order, each forgotten once it is taken."""
    parts.reverse()
    while parts:
        yield parts.pop()
