"""Many clients at one service: whether every answer is right, how many a minute, memory and descriptors.

python benchmarks/serving.py [--clients 100] [--inferences 5000] [--at-once 4] [--plan plan.bin] [--no-keep]
                            [--ray ADDRESS]

`ppc serve` runs in a process of its own, all clients in this one, each inference on a connection of its own;
the first 30 inferences of one client alone are what the others are held against. Without --plan it is the
plan of the tests that holds every kind of step. With --ray, servers on its machines answer, and memory and
descriptors are those of the front.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from results import load, publish
from two_parties import PPC, Feeds

import ppc
from ppc.runtime.plan.file import save, save_weights
from ppc.runtime.session.facts import facts

sys.path.append(str(Path(__file__).parent.parent / "tests" / "tools"))

from tiny import tiny_feeds, tiny_plan, tiny_weights  # type: ignore[import-not-found]

ALONE = 30
MARKS = (0.1, 0.25, 0.5, 0.75, 1.0)
HEAD = ("done", "s", "server's memory, MB", "its descriptors", "its threads")


@dataclass(frozen=True)
class Process:
    """What the kernel says of one: bytes resident, now and at most so far, open descriptors, threads."""

    memory: int
    peak: int
    descriptors: int
    threads: int

    @staticmethod
    def of(pid: int) -> Process:
        status = dict(
            line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines() if ":" in line
        )
        open_now = len(list(Path(f"/proc/{pid}/fd").iterdir()))
        now, peak = (int(status[name].split()[0]) * 1024 for name in ("VmRSS", "VmHWM"))
        return Process(now, peak, open_now, int(status["Threads"]))


@dataclass(frozen=True)
class Mark:
    done: int
    seconds: float
    server: Process


@dataclass(frozen=True)
class Soaked:
    """``wrong`` are answers that were not what the simulator says, ``faults`` those that did not come;
    ``grown`` is by how many bytes the server grew in its first inference, beside what was predicted;
    ``alone`` and ``together`` are inferences a minute; ``after`` is the server when all have left."""

    wrong: int
    faults: Sequence[str]
    grown: int
    predicted: int
    alone: float
    together: float
    marks: Sequence[Mark]
    after: Process


@contextmanager
def service(plan: Path, *words: str) -> Iterator[tuple[tuple[str, int], int]]:
    """``ppc serve``: its address and process."""
    process = subprocess.Popen(
        [*PPC, "serve", str(plan), "--listen", "127.0.0.1:0", *words],
        stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stderr is not None
    try:
        host, _, port = process.stderr.readline().split()[-1].rpartition(":")
        threading.Thread(target=process.stderr.read, daemon=True).start()  # a full pipe would hold it
        yield (host, int(port)), process.pid
    finally:
        process.terminate()
        if process.wait(timeout=60) != 0:
            raise SystemExit(f"the service ended with status {process.returncode}")


class Clients:
    """Asks for inferences in turn, and looks at every answer."""

    def __init__(self, plan: ppc.Plan, weights: ppc.Weights, samples: Sequence[Feeds]) -> None:
        self._plan, self._samples = plan, samples
        self._client = ppc.Client(plan, ppc.SessionOptions(timeout=60), go_on=False)
        self._expected = [ppc.simulate(plan, weights, each) for each in samples]
        self._lock = threading.Lock()
        self.done = self.wrong = 0
        self.faults: list[str] = []

    def ask(self, i: int, address: tuple[str, int]) -> None:
        which = i % len(self._samples)
        try:
            outputs = self._client.run(self._samples[which], address).outputs or {}
        except ppc.RuntimeFault as fault:
            with self._lock:
                self.faults.append(str(fault))
            return
        near = all(_near(outputs[name], x) for name, x in self._expected[which].items() if x.size > 1)
        with self._lock:
            self.done += 1
            self.wrong += not near


def _near(found: np.ndarray, expected: np.ndarray) -> bool:
    return bool(np.abs(found - expected).max() < 0.15 * np.abs(expected).max())


def soak(
    plan: Path,
    samples: Sequence[Feeds],
    clients: int,
    inferences: int,
    at_once: int,
    keep: int = 16,
    ray: str | None = None,
) -> Soaked:
    """``inferences`` in all by ``clients`` at once, after a few by one alone."""
    public = ppc.load_plan(plan)
    asked = Clients(public, ppc.load_weights(plan.with_suffix(".weights"), public), samples)
    room = ["--share", str(clients + 8), "--connections", str(clients + 16), "--waiting", str(clients)]
    room += [] if ray is None else ["--ray", ray]
    alone_count = min(ALONE, inferences)
    with service(plan, "--at-once", str(at_once), "--keep", str(keep), *room) as (address, pid):
        idle = Process.of(pid)
        asked.ask(0, address)  # what the first alone pays
        grown = Process.of(pid).peak - idle.memory
        begun = time.monotonic()
        for i in range(alone_count):
            asked.ask(i, address)
        alone = 60 * alone_count / (time.monotonic() - begun)
        before, begun, marks = asked.done, time.monotonic(), []
        with ThreadPoolExecutor(clients) as pool:
            runs = [pool.submit(asked.ask, i, address) for i in range(inferences)]
            for part in MARKS:
                runs[int(part * inferences) - 1].result()
                marks.append(Mark(asked.done - before, time.monotonic() - begun, Process.of(pid)))
        together = 60 * (asked.done - before) / (time.monotonic() - begun)
        time.sleep(2)
        after = Process.of(pid)
    return Soaked(asked.wrong, asked.faults, grown, facts(public).memory(), alone, together, marks, after)


def drawn(plan: ppc.Plan, seed: int) -> Feeds:
    """Tokens where a range is wide, else ones."""
    rng = np.random.default_rng(seed)
    return {
        spec.name: rng.integers(1000, int(spec.high), spec.shape)
        if spec.kind == "int" and spec.high is not None and spec.high > 2000
        else np.ones(spec.shape, int if spec.kind == "int" else float)
        for spec in plan.inputs
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--clients", type=int, default=100)
    parser.add_argument("--inferences", type=int, default=5000)
    parser.add_argument("--at-once", type=int, default=4)
    parser.add_argument("--keep", type=int, default=16, help="connections that the service keeps")
    parser.add_argument("--plan", type=Path, help="a plan with its weights beside it")
    parser.add_argument("--ray", metavar="ADDRESS", help="of the Ray on whose machines servers answer")
    parser.add_argument("--no-keep", action="store_true", help="leave RESULTS.md alone")
    args = parser.parse_args()
    busy = load()
    with tempfile.TemporaryDirectory() as folder:
        plan = args.plan or tiny_files(Path(folder))
        public = ppc.load_plan(plan)
        samples = [drawn(public, seed) for seed in range(3)] if args.plan else tiny_samples()
        found = soak(plan, samples, args.clients, args.inferences, args.at_once, args.keep, args.ray)
    rows = [(f"{mark.done:,}", f"{mark.seconds:.0f}", *_cells(mark.server)) for mark in found.marks]
    table = [HEAD, *rows, ("all have left", "", *_cells(found.after))]
    notes = [
        f"{args.clients} clients, {args.at_once} at once, plan {public.hash[:12]}: "
        f"{found.together:,.0f} inferences a minute, {found.alone:,.0f} by one client alone; "
        f"{found.wrong} wrong answers, {len(found.faults)} faults {sorted(set(found.faults))[:3] or ''}",
        f"one inference: {found.grown / 1e6:,.0f} MB at the server, {found.predicted / 1e6:,.0f} predicted",
    ]
    publish("A service", [table], notes, busy, not args.no_keep)


def _cells(server: Process) -> tuple[str, str, str]:
    return f"{server.memory / 1e6:.0f}", str(server.descriptors), str(server.threads)


def tiny_files(folder: Path) -> Path:
    plan = folder / "plan.bin"
    save(tiny_plan(), plan)
    save_weights(tiny_weights(), tiny_plan(), plan.with_suffix(".weights"))
    return plan


def tiny_samples() -> list[Feeds]:
    """Whose values do not come near to their rings."""
    return [{"ids": (tiny_feeds()["ids"] + 2 * i) % 11} for i in range(3)]


if __name__ == "__main__":
    main()
