"""Products under HE as tasks of Ray: one inference's work at the server, on all machines of its crew.

A task gets what an answer is made of: the client's public keys and its upload, V, and the seed of the mask.
So weights go through Ray, and masks, of which each hides one answer: if a task's machine dies Ray gives it to
another, and one of the two answers is said. Where Ray gives none the server computes it itself.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator
from typing import Any
from weakref import WeakKeyDictionary

from ..base.extras import needs
from ..base.prg import Drawn
from ..base.ring import Ring, Signed
from ..base.wire import Buffer
from ..he.bfv import HeServer, HeState
from ..he.engine import HERE
from ..he.product import Product

needs("ray", "serving on several machines", "ray")

import ray  # noqa: E402
from ray.exceptions import RayError, RayTaskError  # noqa: E402

log = logging.getLogger(__name__)

MOST_AT_ONCE = 64
"""Answers of one inference that are away, of which each waits in a thread."""


class OverRay:
    """The Ray that the server's process belongs to. Made anew wherever it is sent to."""

    def __init__(self) -> None:
        self._keys: WeakKeyDictionary[HeServer, tuple[int, Any]] = WeakKeyDictionary()
        # once, since Ray sends the code along for each; a server takes a processor for itself, of which a
        # machine may have no other
        self._task = ray.remote(num_cpus=0, scheduling_strategy="SPREAD")(_answer)

    def __reduce__(self) -> tuple[type[OverRay], tuple[()]]:
        return OverRay, ()

    def __repr__(self) -> str:
        return "OverRay()"

    @property
    def at_once(self) -> int:
        """One for each of its processors."""
        return min(MOST_AT_ONCE, max(1, int(ray.cluster_resources().get("CPU", 1))))

    def answer(
        self, server: HeServer, product: Product, upload: Iterator[Buffer], right: Ring | Signed, mask: Drawn
    ) -> Iterable[bytes]:
        """As `HeServer.answer`, which raises the same."""
        parts = [bytes(each) for each in upload]
        try:
            asked = self._task.remote(self._shared(server), product, parts, right, mask)
            found: list[bytes] = ray.get(asked)
        except RayTaskError as fault:
            raise fault.cause from None
        except RayError as fault:
            log.warning("a product is computed here, since Ray does not: %s", str(fault).splitlines()[0])
            return HERE.answer(server, product, iter(parts), right, mask)
        return found

    def _shared(self, server: HeServer) -> Any:
        """The client's public keys, which go to each machine once."""
        state = server.state
        count, held = self._keys.get(server, (-1, None))
        if count != len(state.keys):
            held = ray.put(state)
            self._keys[server] = len(state.keys), held
        return held


def _answer(
    state: HeState, product: Product, parts: list[bytes], right: Ring | Signed, mask: Drawn
) -> list[bytes]:
    return list(HeServer.resumed(state).answer(product, iter(parts), right, mask.ring))
