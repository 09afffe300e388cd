"""What a frame begins with, and the notices that stand between frames.

A frame is 8 bytes of header (payload length, running number) and the payload. A *notice* is a header alone,
whose length no frame has and whose number says what it tells. Notices are no part of a program: a side sends
them when it has nothing else to send, as often as it takes it to be ready, so that no ledger could foretell
them. Like the records of TLS they are outside of it, and prediction and measurement stay equal to the byte.
One that names an address is followed by it, in as many bytes as its value says.
"""

from __future__ import annotations

import struct
from enum import IntEnum
from typing import NamedTuple

HEADER = struct.Struct("<II")
NO_FRAME = 2**32 - 1
"""The length that marks a notice."""
MAX_PAYLOAD = NO_FRAME - 1

BEAT_SECONDS = 1.0
"""A side that has sent nothing for so long says that it is alive."""
BUSY_SECONDS = 600.0
"""How long a peer may say so in place of its message: a program that hangs is given up."""


class Told(IntEnum):
    """What a notice says; its value is in brackets."""

    ALIVE = 0
    """The peer computes, or waits for something else than this side (nothing)."""
    PLACE = 1
    """The server is busy and will come to this client (its place among those that wait, 1 is next)."""
    BUSY = 2
    """The server will not keep this client waiting (seconds after which to come again)."""
    STOPPING = 3
    """The server takes no more work (seconds after which to come again)."""
    UNKNOWN = 4
    """This client is not on the server's allow list (nothing)."""
    QUOTA = 5
    """It has had all that it may have of this day (seconds until the next)."""
    FULL = 6
    """The server keeps no more prepared inferences for it (how many it keeps)."""
    ELSEWHERE = 7
    """Another server answers this client (bytes of HOST:PORT, which follow)."""


_VALUE_BITS = 24

LONGEST_ADDRESS = 262
"""Bytes of HOST:PORT: a name of 253, two brackets, a colon and a port."""


class Notice(NamedTuple):
    """``text`` is an address, for the one that names one."""

    told: Told
    value: int = 0
    text: str = ""

    @staticmethod
    def elsewhere(address: str) -> Notice:
        """That the server at ``address`` answers."""
        return Notice(Told.ELSEWHERE, len(address), address)

    def pack(self) -> bytes:
        value = min(self.value, (1 << _VALUE_BITS) - 1)
        return HEADER.pack(NO_FRAME, self.told << _VALUE_BITS | value) + self.text.encode("ascii")

    @staticmethod
    def unpack(number: int) -> Notice:
        """From the number in a notice's header. ValueError where it tells nothing that is known here."""
        return Notice(Told(number >> _VALUE_BITS), number & (1 << _VALUE_BITS) - 1)

    @property
    def follows(self) -> int:
        """Bytes of ``text`` that come behind its header. ValueError where no address has so many."""
        if self.told is not Told.ELSEWHERE:
            return 0
        if not 0 < self.value <= LONGEST_ADDRESS:
            raise ValueError(f"an address of {self.value} bytes")
        return self.value


BEAT = Notice(Told.ALIVE).pack()
