"""What the JSON documents about a plan hold: `report.summary`, and `why.reasons` within it.

Bytes are of both directions where neither side is named; seconds are foretold.
"""

from __future__ import annotations

from typing import TypedDict

Counted = TypedDict("Counted", {"work": float, "bytes": float, "round trips": float})
"""Seconds by what they go to."""

Alone = TypedDict("Alone", {"iknp alone": int})
"""Bytes."""


class ProductCost(TypedDict):
    """A product with one tile: bits of its modulus, and ``total`` seconds with the bytes at their price."""

    tile: str
    packed: int
    modulus: int
    bytes: int
    work: float
    total: float


class ProductChoice(TypedDict):
    steps: list[str]
    chosen: ProductCost
    instead: dict[str, ProductCost]


class OtChoice(TypedDict):
    sender: str
    count: int
    schedule: list[tuple[str, int]]
    bytes: int
    instead: Alone


class Why(TypedDict):
    byte_price: float
    products: list[ProductChoice]
    ots: list[OtChoice]


class Tensor(TypedDict):
    name: str
    shape: tuple[int, ...]


class Told(Tensor):
    """``choices``: of how many numbers the largest one's place is told alone; None where they are told."""

    choices: int | None


class Given(Tensor):
    """The client refuses what leaves [low, high], which is known by ``bound`` (`runtime/plan/file.py`)."""

    kind: str
    low: int | float | None
    high: int | float | None
    bound: str


class NetworkUsed(TypedDict):
    """Bytes and seconds a second, and seconds."""

    name: str
    bandwidth: float
    rtt: float


class RatesUsed(TypedDict):
    """``where`` is "on this machine", as far as it is known, or "on the reference machine"."""

    where: str
    machine: str
    date: str


class PhaseCost(TypedDict):
    """``client`` and ``server`` are the bytes that each sends."""

    client: int
    server: int
    flights: int
    seconds: float
    parts: Counted


class Together(TypedDict):
    """Of ``inferences`` whose material the first makes: bytes and seconds of one in the mean, no setup."""

    inferences: int
    bytes: int
    seconds: float


class StepCost(TypedDict):
    """``work`` is that part of ``seconds`` in which it is computed; the link takes the rest."""

    bytes: int
    flights: int
    seconds: float
    work: float


class OverNetwork(NetworkUsed):
    """Seconds of a whole run over a network, and of its phases."""

    seconds: float
    phases: dict[str, float]


class Saving(TypedDict):
    """``bytes`` and ``seconds`` are what is saved of a first inference; None where the plan does not tell."""

    what: str
    how: str
    bytes: int | None
    seconds: float | None


class ProductUsed(TypedDict):
    """Shape and parameters; log2 of the bound on the error of the shares, and of what is harmless."""

    shape: list[int]
    ring: int
    degree: int
    modulus: int
    tile: str
    packed: int
    error: float
    spare: int


class StepRow(TypedDict):
    step: str
    kind: str
    layer: str
    reads: tuple[int, ...]
    format: str
    shape: tuple[int, ...]
    note: str
    offline: StepCost
    online: StepCost
    products: list[ProductUsed]


class CriticalPath(TypedDict):
    flights: int
    steps: list[str]


class Seen(TypedDict):
    value: str
    seen_by: str


class PublicNumbers(TypedDict):
    """A constant of the model in the plan: the step that holds it, the tensor that it goes into, and why it
    is there. ``values`` of up to 64 numbers, in reals; infinities as words."""

    where: str
    name: str
    shape: tuple[int, ...]
    numbers: int
    why: str
    values: list[float | str]


class Throughput(TypedDict):
    """Prompts a minute on one connection, ``together`` in an inference: after its setup, and where their
    material was prepared."""

    together: int
    fresh: float
    prepared: float


class Summary(TypedDict):
    """A plan: cost, formats, and who sees what."""

    plan: str
    model: str
    profile: str
    options: dict[str, object]
    inputs: list[Given]
    outputs: list[Told]
    network: NetworkUsed
    rates: RatesUsed
    predicted: dict[str, PhaseCost]
    together: Together | None
    networks: list[OverNetwork]
    prompts_a_minute: Throughput
    cheaper: list[Saving]
    critical_path: CriticalPath
    lengths: list[int | None]
    steps: list[StepRow]
    why: Why
    who_sees_what: list[Seen]
    public: list[PublicNumbers]
    names: list[str]
