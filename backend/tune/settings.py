"""What is asked of a tuning."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from ppc.backend.tune.price import Price
from ppc.runtime.net.network import USUAL, Network


@dataclass(frozen=True)
class Goal:
    """``budget`` in points of score; ``bytes`` and ``seconds`` that an inference may cost."""

    budget: float = 1.0
    bytes: float | None = None
    seconds: float | None = None

    @property
    def by(self) -> Literal["bytes", "seconds"]:
        """What is to be saved."""
        return "bytes" if self.seconds is None else "seconds"

    @property
    def limit(self) -> str:
        """As ``--target`` has it."""
        if self.bytes is not None:
            return f"{self.bytes / 1e6:g}MB"
        return "none" if self.seconds is None else f"{self.seconds:g}s"

    def affords(self, price: Price) -> bool:
        return (self.bytes is None or price.bytes <= self.bytes) and (
            self.seconds is None or price.seconds <= self.seconds
        )


@dataclass(frozen=True)
class Settings:
    """``steps`` of ``batch`` rows in the first tuning, or ``epochs``; ``labels``: how much they count beside
    the teacher's answers; ``rate`` is found where None; ``half``: products of bfloat16 while training;
    ``mix``: texts made of two to train on, for each that there is;
    ``network`` is what seconds are predicted for."""

    profile: str = "friendly"
    goal: Goal = field(default_factory=Goal)
    steps: int = 300
    epochs: float | None = None
    batch: int = 32
    rate: float | None = None
    labels: float = 0.0
    seed: int = 0
    half: bool = False
    mix: float = 0.0
    network: Network = USUAL
