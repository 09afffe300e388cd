"""What is known of the link between two parties: bandwidth and delay."""

from __future__ import annotations

import re
from dataclasses import dataclass

from ..base.errors import BadInput


@dataclass(frozen=True)
class Network:
    """A link: bytes a second each way, and seconds there and back.

    With ``one_machine`` both parties share the cores of one.
    """

    name: str
    bandwidth: float
    rtt: float
    one_machine: bool = False

    def __str__(self) -> str:
        where = ", both on one machine" if self.one_machine else ""
        return f"{self.name}: {self.bandwidth * 8e-6:,.0f} Mbit/s, round trip {self.rtt * 1e3:g} ms{where}"

    @property
    def byte_price(self) -> float:
        """Seconds that a byte takes."""
        return 1 / self.bandwidth

    @property
    def flight(self) -> int:
        """Bytes that travel in the time of one flight."""
        return round(self.bandwidth * self.rtt / 2)


LOOPBACK = Network("loopback", 1.25e9, 1e-4, one_machine=True)
"""Two processes of one machine; `Rates.loopback` has what was measured."""

LAN = Network("lan", 1.25e9, 1e-4)
"""10 Gbit/s and 0.1 ms: two machines at one switch."""

WAN = Network("wan", 12.5e6, 40e-3)
"""100 Mbit/s and 40 ms: two sites of one continent."""

USUAL = Network("50Mbit,40ms", 6.25e6, 40e-3)
"""What plans are made for by default."""

NETWORKS = {network.name: network for network in (LAN, WAN, LOOPBACK)}

_BANDWIDTH = re.compile(r"(\d+(?:\.\d+)?)\s*([kMG]?)(bit/s|bit|bps|B/s|B)?", re.ASCII)
_RTT = re.compile(r"(\d+(?:\.\d+)?)\s*(us|ms|s)", re.ASCII)


def parse_network(text: str) -> Network:
    """``lan``, ``wan``, ``loopback``, or BANDWIDTH,RTT such as ``200Mbit,15ms``; BadInput otherwise."""
    if text in NETWORKS:
        return NETWORKS[text]
    first, _, second = text.partition(",")
    band, trip = _BANDWIDTH.fullmatch(first.strip()), _RTT.fullmatch(second.strip())
    if band is None or trip is None or not float(band[1]):
        raise BadInput(
            f"a network is lan, wan, loopback, or BANDWIDTH,RTT such as 200Mbit,15ms, not {text!r}"
        )
    bits = 8 if (band[3] or "").startswith("B") else 1
    bandwidth = float(band[1]) * {"": 1, "k": 1e3, "M": 1e6, "G": 1e9}[band[2]] * bits / 8
    return Network(text, bandwidth, float(trip[1]) * {"us": 1e-6, "ms": 1e-3, "s": 1}[trip[2]])
