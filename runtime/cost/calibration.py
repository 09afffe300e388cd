"""Measures a machine: every kind of step in several sizes, run between two processes, and what explains it.

Each role's own time of a step is what its thread spent on a core, the median of several runs.
The rates are the non-negative numbers that, times the work that `timeline` counts, come nearest to those
times. COTs and products under HE are measured apart, so that a step's time is all its own.
"""

from __future__ import annotations

import logging
import os
import platform
import socket
import statistics
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import date
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..base.prg import SEED_BYTES
from ..base.ring import Ring
from ..he.bfv import HeClient, HeServer
from ..he.engine import HeEngine
from ..he.product import Product, parameter_sets
from ..net.channel import Channel
from ..net.tcp import TcpTransport
from ..ot.extension import COLUMNS, Iknp
from ..ot.keys import hash_tweak
from ..ot.silent import B12, Silent
from ..party.ledger import Cost, Ledger, Place
from ..party.party import Party
from ..party.ports import Engines
from ..party.role import CLIENT, SERVER, Role
from ..plan.file import Plan
from ..session.executor import offline, online
from ..session.facts import Facts
from ..session.inputs import ClientInput
from .meter import Units, metered
from .rates import Rates
from .sample_plan import sample_plans, sample_weights

log = logging.getLogger(__name__)

Times = dict[Place, float]
"""Seconds of own work, by phase and step."""
Row = tuple[Units, float]
"""Work and the seconds it took."""

STAGES = {
    "upload": ("encrypt",),
    "read": ("expand",),
    "sum": ("arrange", "weight", "butterfly", "he_mac"),
    "pack": ("collect", "key_switch"),
    "hide": ("rerandomise", "switch_down"),
    "finish": ("decrypt", "result"),
}
"""What is timed of a product, and the work of each: little enough to tell one kind from the other."""

RUNS = 3
IKNP_COTS = 1 << 19
STOCK = 1 << 22
"""COTs on stock: more than any protocol of the sample plan takes at once."""
ECHOES = 300
BULK = 1 << 26
FLOOR = 1e-4
"""Seconds of a step below which an error does not matter."""


def calibrate(runs: int = RUNS) -> Rates:
    """Measure this machine with two processes, in less than a minute.

    Each run has fresh processes, since memory that is touched for the first time is what a real run works on.
    Best on a machine at rest: time on a core leaves out waiting for it, but not caches shared with others.
    """
    measured = []
    for run in range(runs):
        log.info("run %d of %d", run + 1, runs)
        measured.append(_run())
    times = {role: _median([each[0][role] for each in measured]) for role in Role}
    return Rates(
        machine=machine(),
        date=date.today().isoformat(),
        cores=os.cpu_count() or 1,
        shared=_he_rates(times[SERVER]) | _ot_rates(times),
        steps=_step_rates(times),
        loopback=(
            statistics.median(link[0] for _, link in measured),
            statistics.median(link[1] for _, link in measured),
        ),
    )


def _run() -> tuple[dict[Role, Times], tuple[float, float]]:
    """Two processes that measure themselves, and the link between them."""
    context = get_context("spawn")
    mine, theirs = zip(*(context.Pipe() for _ in Role), strict=True)
    children = [
        context.Process(target=_child, args=(role, end), daemon=True)
        for role, end in zip(Role, theirs, strict=True)
    ]
    for child, end in zip(children, theirs, strict=True):
        child.start()
        end.close()
    try:
        mine[1].send(mine[0].recv())  # the server's port, to the client
        (server, link), (client, _) = (end.recv() for end in mine)
    except EOFError:
        raise RuntimeError("a measuring process ended early; its own message says why") from None
    for child in children:
        child.join()
    return {SERVER: server, CLIENT: client}, link


def _child(role: Role, parent: Connection) -> None:
    if role is SERVER:
        with socket.create_server(("127.0.0.1", 0)) as listener:
            parent.send(listener.getsockname()[1])
            sock = listener.accept()[0]
    else:
        sock = socket.create_connection(("127.0.0.1", parent.recv()))
    parent.send(_side(role, sock))


def _median(runs: list[Times]) -> Times:
    return {place: statistics.median(times[place] for times in runs) for place in runs[0]}


def machine() -> str:
    """The processor's name, where Linux tells it."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.is_file() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return f"{names[0] if names else platform.processor() or platform.machine()}, {os.cpu_count()} cores"


# ---- one role's own time


class OwnTime(Ledger):
    """A ledger that sums the seconds for which this thread was on a core, step by step."""

    def __init__(self) -> None:
        super().__init__()
        self.own: Times = defaultdict(float)

    @contextmanager
    def at(self, place: Place) -> Iterator[Cost]:
        begun = time.thread_time()
        with super().at(place) as cost:
            yield cost
        self.own[place] += time.thread_time() - begun


class _Stock:
    """Stands where a pool will be and hands out blocks of its own: right in number, not in value."""

    ready = True
    checked = False
    tweak = hash_tweak(b"")

    def __init__(self, p: Party, sender: Role) -> None:
        self.sender = sender
        self._blocks = p.prg.ring(64, (STOCK, 2))
        self._at = 0
        holds = p.role is sender
        self.delta = self._blocks[:1] | np.array([1, 0], np.uint64) if holds else None

    def plan(self, count: int) -> None:
        """Any number may be taken."""

    def take(self, count: int) -> tuple[int, Ring]:
        first = self._at if self._at + count <= len(self._blocks) else 0
        self._at = first + count
        return first, self._blocks[first : first + count]


def stocked(p: Party) -> Engines:
    """Correlated OTs from stock, so that a step's time is its own."""
    return Engines({role: _Stock(p, role) for role in Role}, HeEngine(p))


def _side(role: Role, sock: socket.socket) -> tuple[Times, tuple[float, float]]:
    """What one role measures: own seconds by phase and step, and the link as it saw it."""
    channel = Channel(TcpTransport(sock))
    p = Party(role, channel, stocked)
    link = loopback(p)
    p.ledger = ledger = OwnTime()
    if role is SERVER:
        timed_products(p, sample_plans()[0].products)
    _ots(p)
    with p.ledger.at(Place("setup", "walk")):
        for plan in sample_plans():
            _ = Facts(plan).digest
    for plan in sample_plans():
        walk(p, plan)
    channel.close()
    p.close()
    return ledger.own, link


def walk(p: Party, plan: Plan) -> None:
    """One inference, of no input, at the prices of steps alone: OTs are on stock."""
    p.linear.plan(plan.products)
    weights = sample_weights(plan) if p.role is SERVER else None
    encoded = ClientInput.at(plan, {}).encoded if p.role is CLIENT else None
    online(p, plan, offline(p, plan, weights), weights, encoded)


class _StagedServer(HeServer):
    """Books the stages of an answer apart, that of the sample plan's product ``number``."""

    def __init__(self, ledger: Ledger, seed: bytes) -> None:
        super().__init__(seed)
        self.number = 0
        self._ledger = ledger

    def _read(self, *args: Any) -> Any:
        with self._ledger.at(Place("he", f"read {self.number}")):
            return super()._read(*args)

    def _sum(self, *args: Any) -> Any:
        with self._ledger.at(Place("he", f"sum {self.number}")):
            return super()._sum(*args)

    def _packed(self, *args: Any) -> Any:
        with self._ledger.at(Place("he", f"pack {self.number}")):
            return super()._packed(*args)

    def _finished(self, *args: Any) -> Any:
        with self._ledger.at(Place("he", f"hide {self.number}")):
            return super()._finished(*args)


def timed_products(p: Party, products: Sequence[Product]) -> None:
    """Keys, and products on masks and small weights, both ends in this process."""
    sets = parameter_sets(products)
    seed = p.prg.bytes(SEED_BYTES).tobytes()
    with p.ledger.at(Place("he", "keys made")):
        client = HeClient()
        keys = client.add(sets, seed)
    with p.ledger.at(Place("he", "keys read")):
        server = _StagedServer(p.ledger, seed)
        server.add(sets, keys)
    for i, made in enumerate(products):
        b, ell = made.batch, made.ell
        mask = p.prg.ring(64, (b, made.m, made.n))
        v: NDArray[Any] = p.prg.ring(ell, (b, made.k, made.n))
        if b == 1:
            v = (v >> np.uint64(ell - 8)).astype(np.int64) - 128
        with p.ledger.at(Place("he", f"upload {i}")):
            up = list(client.upload(made)[1])
        server.number = i
        down = list(server.answer(made, up, v, mask))
        with p.ledger.at(Place("he", f"finish {i}")):
            client.finish(made, down)


def _ots(p: Party) -> None:
    """Base OTs and one extension of each kind, the server sending."""
    iknp = Iknp(SERVER)
    with p.ledger.at(Place("setup", "base OTs")):
        iknp.setup(p)
    with p.ledger.at(Place("setup", "iknp")):
        blocks = iknp.extend(p, IKNP_COTS)
    assert blocks is not None
    silent = Silent(SERVER, iknp.delta, iknp.tag)
    with p.ledger.at(Place("setup", "silent")):
        silent.extend(p, B12, blocks[: B12.spent])


def loopback(p: Party, bulk_bytes: int = BULK) -> tuple[float, float]:
    """Bytes a second, and seconds there and back."""
    zeros = bytes(bulk_bytes)

    def echo() -> None:
        for speaker in (SERVER, CLIENT):
            p.tell_bytes(speaker, 8, lambda: bytes(8))

    def bulk() -> None:
        p.tell_bytes(SERVER, bulk_bytes, lambda: zeros)
        p.tell_bytes(CLIENT, 8, lambda: bytes(8))

    def seconds(work: Callable[[], None]) -> float:
        begun = time.perf_counter()
        work()
        return time.perf_counter() - begun

    trips = sorted(seconds(echo) for _ in range(ECHOES))
    return bulk_bytes / min(seconds(bulk) for _ in range(3)), trips[ECHOES // 2]


# ---- from times to rates


def _he_rates(times: Times) -> dict[str, float]:
    products = sample_plans()[0].products
    coefficients = sum(params.key_residues for params in parameter_sets(products))
    rates = {
        "he_key_make": times[Place("he", "keys made")] / coefficients,
        "he_key_read": times[Place("he", "keys read")] / coefficients,
    }
    for stage in STAGES:
        places = [Place("he", f"{stage} {i}") for i in range(len(products))]
        rates |= _fit([(stage_work(p, stage), times[at]) for p, at in zip(products, places, strict=True)])
    return rates


def stage_work(product: Product, stage: str) -> Units:
    """What is counted of a product and timed in one of `STAGES`."""
    return {unit: work[unit] for work in product.work.values() for unit in work if unit in STAGES[stage]}


def _ot_rates(times: dict[Role, Times]) -> dict[str, float]:
    def rate(role: Role, label: str, count: int) -> float:
        return times[role][Place("setup", label)] / count

    return {
        "iknp_send": rate(SERVER, "iknp", IKNP_COTS),
        "iknp_receive": rate(CLIENT, "iknp", IKNP_COTS),
        "silent_send": rate(SERVER, "silent", B12.made),
        "silent_receive": rate(CLIENT, "silent", B12.made),
        "base_receive": rate(SERVER, "base OTs", COLUMNS),
        "base_send": rate(CLIENT, "base OTs", COLUMNS),
        "walk": rate(SERVER, "walk", sum(len(plan.steps) for plan in sample_plans())),
    }


def _step_rates(times: dict[Role, Times]) -> dict[str, dict[str, float]]:
    rows: dict[str, list[Row]] = defaultdict(list)
    for plan in sample_plans():
        for (place, role), units in metered(plan, None).work.items():
            made_apart = place.phase == "offline" and place.what in ("Linear", "MatMul")
            if place.number is None or made_apart:
                continue
            own = {unit: n for unit, n in units.items() if not unit.startswith(("iknp", "silent"))}
            rows[f"{place.phase} {place.what} {role.value}"].append((own, times[role][place]))
    return {key: _fit(found) for key, found in sorted(rows.items())}


def _fit(rows: list[Row]) -> dict[str, float]:
    """Seconds a unit, not negative, that explain ``rows``: least squares, long rows counting as they last."""
    units, counts, seconds = design(rows)
    return {unit: float(value) for unit, value in zip(units, nonnegative(counts, seconds), strict=True)}


def design(rows: list[Row]) -> tuple[list[str], NDArray[np.float64], NDArray[np.float64]]:
    """Units, counts (rows, units) and seconds of what is fitted, each row scaled by its weight."""
    units = sorted({unit for work, _ in rows for unit in work})
    counts = np.array([[work.get(unit, 0.0) for unit in units] for work, _ in rows])
    seconds = np.array([seconds for _, seconds in rows])
    weight = np.maximum(seconds, FLOOR) ** -0.5
    return units, counts * weight[:, None], seconds * weight


def nonnegative(a: NDArray[np.float64], y: NDArray[np.float64]) -> NDArray[np.float64]:
    """The x >= 0 that minimises |a·x - y|: the active sets of Lawson and Hanson (1974)."""
    size = np.linalg.norm(a, axis=0)
    scaled = a / np.where(size > 0, size, 1.0)
    x, free = np.zeros(a.shape[1]), np.zeros(a.shape[1], bool)
    for _ in range(10 * a.shape[1]):
        gain = np.where(free, -np.inf, scaled.T @ (y - scaled @ x))
        best = int(np.argmax(gain))
        if gain[best] <= 1e-12 * np.linalg.norm(y):
            break
        free[best] = True
        while True:
            trial = np.zeros_like(x)
            trial[free] = np.linalg.lstsq(scaled[:, free], y, rcond=None)[0]
            down = free & (trial <= 0)
            if not down.any():
                break
            step = float(np.min(x[down] / (x[down] - trial[down])))
            x = x + step * (trial - x)
            free &= x > 1e-15
            x[~free] = 0.0
        x = trial
    return x / np.where(size > 0, size, 1.0)
