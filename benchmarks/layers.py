"""One encoder layer of BERT-base and of MiniLM shape: seconds, bytes, flights, error and memory.

    python benchmarks/layers.py [--shape base minilm] [--profile exact friendly] [--repeat 3]
                                [--network 50Mbit,40ms] [--link lan] [--no-keep]

Two processes on this machine; of each the run of median seconds. ``--network`` is what the compiler chooses
for, ``--link`` slows the connection down to a network's bandwidth and delay.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

from encoder import SHAPES, Encoder, feeds, write
from results import Table, load, mega, publish, seconds
from two_parties import Run, compile_model, typical

HEAD = (
    "layer", "profile", "setup s", "offline s", "online s", "total s", "predicted s", "MB offline",
    "MB online", "MB total", "flights offline", "online", "max error", "of spread", "server MB", "client MB",
)  # fmt: skip
SAMPLES = 4


def row(name: str, profile: str, run: Run) -> list[str]:
    """The line of one run in the table."""
    return [
        name, profile,
        *(seconds(run.phase(phase, "seconds")) for phase in ("setup", "offline", "online")),
        seconds(run.seconds), seconds(run.foretold),
        mega(run.bytes("offline")), mega(run.bytes("online")), mega(run.bytes()),
        str(run.flights("offline")), str(run.flights("online")),
        f"{run.error:.1e}", f"{run.error / run.spread:.1e}",
        f"{run.server_peak / 1e6:.0f}", f"{run.report['peak_memory'] / 1e6:.0f}",
    ]  # fmt: skip


def measure(
    encoder: Encoder, profile: str, repeat: int, network: str | None = None, link: str | None = None
) -> Run:
    """Compile and run one encoder; the median of ``repeat`` runs."""
    with tempfile.TemporaryDirectory() as folder:
        model = write(encoder, Path(folder) / "encoder.onnx")
        samples = [feeds(encoder, seed) for seed in range(SAMPLES)]
        compiled = compile_model(model, profile, samples, network)
        return typical(compiled, feeds(encoder), repeat, shape=link)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--shape", nargs="+", choices=SHAPES, default=list(SHAPES))
    parser.add_argument("--profile", nargs="+", default=["exact", "friendly"])
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--network", help="what the compiler chooses for; its own default if not given")
    parser.add_argument("--link", help="slow the connection down: lan, wan or BANDWIDTH,RTT")
    parser.add_argument("--no-keep", action="store_true", help="leave RESULTS.md alone")
    args = parser.parse_args()
    busy = load()
    table: list[list[str]] = [list(HEAD)]
    for shape in args.shape:
        for profile in args.profile:
            run = measure(SHAPES[shape], profile, args.repeat, args.network, args.link)
            table.append(row(shape, profile, run))
    tables: list[Table] = [table]
    notes = [f"{name}: {SHAPES[name]}" for name in args.shape]
    publish("One encoder layer", tables, notes, busy, keep=not args.no_keep)


if __name__ == "__main__":
    main()
