"""Two clients of one service: one after the other, together, a second time, and with a full pool.

python benchmarks/pools.py --plan plan.bin [--repeat 5] [--no-keep]

`ppc serve` runs in a process of its own, both clients in threads of this one. Each round does all of it in
turn, so that what else the machine does falls on all alike; of each kind the median counts, beside its ratio
to one inference by one client. Bytes of every inference have to be those predicted.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from results import load, publish
from serving import drawn, service
from two_parties import Feeds

import ppc
from ppc.runtime.party.ledger import PHASES
from ppc.runtime.service.report import Outcome

HEAD = ("what", "s", "of one alone", "MB an inference", "flights")

ONE, AFTER, TOGETHER = "one client, fresh", "two, one after the other", "two that start together"
AGAIN, AGAIN_BOTH = "one on a connection that is kept", "two together on kept ones"
POOL, POOL_BOTH = "one with a full pool", "two together with full pools"
OTHER = "the other alone"
ROWS = (ONE, AFTER, TOGETHER, AGAIN, AGAIN_BOTH, POOL, POOL_BOTH)


class Measured:
    """Seconds and outcomes by what was done."""

    def __init__(self) -> None:
        self.seconds: dict[str, list[float]] = {}
        self.last: dict[str, Outcome] = {}

    def time(self, what: str, *runs: Callable[[], Outcome]) -> None:
        """All of ``runs`` at once, until the last has ended."""
        begun = time.monotonic()
        with ThreadPoolExecutor(len(runs)) as pool:
            outcomes = [each.result() for each in [pool.submit(run) for run in runs]]
        self.seconds.setdefault(what, []).append(time.monotonic() - begun)
        for outcome in outcomes:
            _as_foretold(outcome)
            if bool(outcome.material) != (what in (POOL, POOL_BOTH)):
                raise SystemExit(f"{what}: {len(outcome.material)} prepared were used")
        self.last[what] = outcomes[0]

    def add(self, what: str, *parts: str) -> None:
        """One after the other, as they were measured."""
        self.seconds[what] = [sum(each) for each in zip(*(self.seconds[part] for part in parts), strict=True)]
        self.last[what] = self.last[parts[0]]

    def row(self, what: str) -> tuple[str, ...]:
        middle, alone = (statistics.median(self.seconds[each]) for each in (what, ONE))
        seen = [self.last[what].report[phase] for phase in PHASES]
        size, flights = sum(each["sent"] + each["received"] for each in seen), sum(x["flights"] for x in seen)
        return what, f"{middle:.2f}", f"{middle / alone:.2f}", f"{size / 1e6:.1f}", str(flights)


def _as_foretold(outcome: Outcome) -> None:
    report = outcome.report
    for phase in PHASES:
        for what in ("sent", "received", "flights"):
            if report[phase][what] != report["predicted"][phase][what]:
                raise SystemExit(f"{what} of {phase} are not those predicted")


def measure(plan: Path, feeds: Feeds, repeat: int, folder: Path) -> Measured:
    public, found = ppc.load_plan(plan), Measured()
    with service(plan, "--prepare", "2", "--store", str(folder / "server")) as (address, _):
        fresh = [ppc.Client(public, go_on=False) for _ in range(2)]
        kept = [ppc.Client(public) for _ in range(2)]
        ahead = [ppc.Client(public, store=folder / f"client{i}", ahead=1) for i in range(2)]

        def run(client: ppc.Client) -> Callable[[], Outcome]:
            return lambda: client.run(feeds, address)

        for client in (*fresh, *kept, *ahead):  # both sides are warm, and connections are set up
            client.run(feeds, address)
            client.settle()
        for _ in range(repeat):
            found.time(ONE, run(fresh[0]))
            found.time(OTHER, run(fresh[1]))
            found.time(TOGETHER, *map(run, fresh))
            found.time(AGAIN, run(kept[0]))
            found.time(AGAIN_BOTH, *map(run, kept))
            found.time(POOL, run(ahead[0]))
            ahead[0].settle()
            found.time(POOL_BOTH, *map(run, ahead))
            for client in ahead:
                client.settle()
    found.add(AFTER, ONE, OTHER)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--plan", type=Path, required=True, help="a plan with its weights beside it")
    parser.add_argument("--repeat", type=int, default=5)
    parser.add_argument("--no-keep", action="store_true", help="leave RESULTS.md alone")
    args = parser.parse_args()
    busy = load()
    public = ppc.load_plan(args.plan)
    with tempfile.TemporaryDirectory() as folder:
        found = measure(args.plan, drawn(public, 0), args.repeat, Path(folder))
    table = [HEAD, *(found.row(each) for each in ROWS)]
    notes = [f"plan {public.hash[:12]}, {public.options.seq_len} tokens, medians of {args.repeat}"]
    publish("Two clients", [table], notes, busy, not args.no_keep)


if __name__ == "__main__":
    main()
