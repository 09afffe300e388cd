"""Measures the reference machine three times, and writes the table that comes with the program.

python benchmarks/reference_rates.py [--runs 5] [--anyway] [--steps]     on a machine at rest

Tiles of all plans are chosen by this table, so it must not be an accident: it is written where every rate of
`Rates.shared` repeats within ten per cent. Each value is the median of the three.

With ``--steps`` the reference machine stays, and its tiles: what steps take is measured anew, on whatever
machine this is, and scaled by how fast this one is at what `Rates.shared` has of both.
"""

from __future__ import annotations

import argparse
import os
import statistics

import msgspec

from ppc.runtime.cost.calibration import RUNS, calibrate
from ppc.runtime.cost.rates import REFERENCE, Rates, read_rates, save_rates

TIMES = 3
REPEATS = 0.1


def median(found: list[Rates]) -> Rates:
    """The median of every rate."""

    def each(tables: list[dict[str, float]]) -> dict[str, float]:
        return {unit: statistics.median(table[unit] for table in tables) for unit in tables[0]}

    return msgspec.structs.replace(
        found[0],
        shared=each([rates.shared for rates in found]),
        steps={key: each([rates.steps[key] for rates in found]) for key in found[0].steps},
        loopback=(
            statistics.median(rates.loopback[0] for rates in found),
            statistics.median(rates.loopback[1] for rates in found),
        ),
    )


def only_steps(known: Rates, found: Rates) -> Rates:
    """``known`` with the steps of ``found``, as fast as on the machine of ``known``."""
    slower = statistics.median(found.shared[unit] / rate for unit, rate in known.shared.items() if rate)
    print(f"this machine takes {slower:.2f} times as long")
    steps = {key: {unit: rate / slower for unit, rate in row.items()} for key, row in found.steps.items()}
    return msgspec.structs.replace(known, steps=steps)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument(
        "--runs", type=int, default=RUNS, help="runs of each measurement, of which the median counts"
    )
    parser.add_argument("--anyway", action="store_true", help="write the table even if it does not repeat")
    parser.add_argument("--steps", action="store_true", help="measure what steps take, and leave tiles alone")
    args = parser.parse_args()
    print(f"load {os.getloadavg()[0]:.1f} at the start")
    found = [calibrate(args.runs) for _ in range(TIMES)]
    middle, worst = median(found), 0.0
    for unit, value in middle.shared.items():
        values = [rates.shared[unit] for rates in found]
        spread = (max(values) - min(values)) / value if value else float("inf")
        worst = max(worst, spread)
        print(f"{unit:16}" + "".join(f"{1e9 * each:12.4g}" for each in values) + f" ns{100 * spread:8.1f} %")
    if worst > REPEATS and not args.anyway:
        raise SystemExit(f"a rate differs by {100 * worst:.0f} % between runs: nothing is written")
    save_rates(only_steps(read_rates(REFERENCE), middle) if args.steps else middle, REFERENCE)
    print(REFERENCE)


if __name__ == "__main__":
    main()
