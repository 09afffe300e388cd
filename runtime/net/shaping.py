"""A slower network than the one at hand, for measurements: bandwidth and delay at the sending side.

A shaped link sends so many bytes a second, one message after the other, and what it has sent arrives half a
round trip later: a token bucket without burst in front of a pipe. Time passes for real; nothing is simulated.
Both sides must be shaped alike, each for its own direction. Headers of TCP and IP are not counted.
"""

from __future__ import annotations

import time
from collections.abc import Iterator

from .network import Network

PIECE_SECONDS = 0.002
"""What is handed to the socket at once, in seconds of bandwidth."""
MIN_PIECE = 1 << 12


class Pace:
    """One direction of a shaped link; used by the thread that sends."""

    def __init__(self, network: Network) -> None:
        self._network = network
        self._free = 0.0  # when the link has sent everything so far
        self._piece = max(MIN_PIECE, int(network.bandwidth * PIECE_SECONDS))

    def pieces(self, queued: float, data: bytes | bytearray | memoryview) -> Iterator[memoryview]:
        """Parts of ``data``, each given out when it would arrive; ``queued`` is when it could have left.

        Times are those of `time.monotonic`. The delay is counted from there, so that messages that follow
        each other share it.
        """
        view = memoryview(data).cast("B")
        for at in range(0, len(view), self._piece):
            piece = view[at : at + self._piece]
            self._free = max(self._free, queued) + len(piece) / self._network.bandwidth
            time.sleep(max(0.0, self._free + self._network.rtt / 2 - time.monotonic()))
            yield piece
