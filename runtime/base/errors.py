"""Everything that can go wrong while a plan runs, each with the exit status the command line gives it.

Error                   all that users meet, with those of models (`frontend/errors.py`); ``ppc.Error``
└── RuntimeFault
    ├── BadInput        2   the user's input has the wrong name, shape, type or range
    │   └── NotInstalled    … or what is asked for takes packages that are not there (`extras`)
    ├── PeerMismatch    4   the two sides hold different plans, versions or parameters
    │   └── PeerDeviates    … or a check of what the peer sent fails (`--check-ot`)
    ├── BadPlan         4   a plan or weights file that is damaged or not ours
    ├── NetworkFault    5   the peer went away, or never came
    │   ├── PeerLeft        … between two messages: no more than goodbye, where nothing was under way
    │   ├── PeerRefuses     … or has told that it does no work for this side now
    │   │   └── SentOn          … because another server does
    │   └── TurnedAway      … or was told so by this side (`service.gate`, which knows what)
    └── RangeFault      6   a value that its fixed-point format cannot hold
"""

from __future__ import annotations

from math import inf


class Error(Exception):
    """Base of all that a user can meet; the message is one clear line without secrets."""

    exit_status = 1


class RuntimeFault(Error):
    """Base of all faults of a run."""


class BadInput(RuntimeFault):
    exit_status = 2


class NotInstalled(BadInput):
    pass


class PeerMismatch(RuntimeFault):
    exit_status = 4


class PeerDeviates(PeerMismatch):
    pass


class BadPlan(RuntimeFault):
    exit_status = 4


class NetworkFault(RuntimeFault):
    exit_status = 5


class PeerLeft(NetworkFault):
    pass


class PeerRefuses(NetworkFault):
    """``again``: seconds after which this side may come again, where it has been told so."""

    def __init__(self, why: str, again: float = inf) -> None:
        super().__init__(why)
        self.again = again


class SentOn(PeerRefuses):
    """``address``: host and port of the server that answers this side."""

    def __init__(self, why: str, address: tuple[str, int]) -> None:
        super().__init__(why)
        self.address = address


class RangeFault(RuntimeFault):
    exit_status = 6
