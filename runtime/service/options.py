"""How one side of a session talks."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from math import inf

from ..he.engine import HERE, Workshop
from ..net.network import Network
from ..session.executor import Progress

ADDRESS = ("127.0.0.1", 7766)
"""Where a server listens, and a client looks for it, unless told otherwise."""

TIMEOUT = 30.0
"""Many times what a side that is alive leaves between two signs of it (`net.frame.BEAT_SECONDS`)."""


@dataclass(frozen=True, kw_only=True)
class SessionOptions:
    """
    Attributes:
        timeout: seconds of silence after which the peer is given up; and what a message may take beyond the
            time that a link of `net.deadline.SLOWEST` takes for it. A peer that only computes is not silent.
        idle: at the server, seconds for which a client may stay without asking for anything.
        shape: a slower network to stand for, at this side's sending end.
        progress: opens a view of an inference's progress; what it gives is called with (phase, steps done,
            steps in all).
        memory: bytes of one inference's offline material to hold; the rest waits in a temporary file,
            encrypted (`session.held`). Weights and what a step computes with come on top.
        check_ot: check that the peer extends oblivious transfers as it should (`ot.check`); both sides must.
        workshop: at the server, who computes products under HE.
    """

    timeout: float = TIMEOUT
    idle: float = 600.0
    shape: Network | None = None
    progress: Callable[[], AbstractContextManager[Progress]] | None = None
    memory: float = inf
    check_ot: bool = False
    workshop: Workshop = HERE
