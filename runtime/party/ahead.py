"""Material that one program of a connection has made for those that follow it.

Small products under HE leave most of a ciphertext empty, and transform the server's matrix for a few rows. So
a plan may say that several inferences' are made together (`plan.file.Options`): the first program makes them
all, and each of the next takes its own. Both sides run the same programs in the same order, so both have the
same left.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping

Key = tuple[str, int]
"""A plan's hash, and one of its steps."""


class Ahead:
    """Material by step, each piece taken once.

    Args:
        left: while pricing: how many pieces earlier programs have left, without their content.
    """

    def __init__(self, left: Mapping[Key, int] | None = None) -> None:
        self._made = {key: deque[object]([None] * count) for key, count in (left or {}).items()}

    def __repr__(self) -> str:
        return f"Ahead({sum(map(len, self._made.values()))} pieces, <secret>)"

    @property
    def left(self) -> frozenset[tuple[Key, int]]:
        """How many pieces there are of what."""
        return frozenset((key, len(pieces)) for key, pieces in self._made.items())

    def has(self, key: Key) -> bool:
        return key in self._made

    def put(self, key: Key, pieces: Iterable[object]) -> None:
        """What comes after all of an earlier kind is taken."""
        if key in self._made:
            raise RuntimeError(f"step {key[1]}: some are left of what was made before")
        if waiting := deque(pieces):
            self._made[key] = waiting

    def take(self, key: Key) -> object:
        """The next piece, which is gone then."""
        pieces = self._made[key]
        piece = pieces.popleft()
        if not pieces:
            del self._made[key]
        return piece

    def clear(self) -> None:
        self._made.clear()
