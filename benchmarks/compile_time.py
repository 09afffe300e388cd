"""Seconds and memory that `ppc compile` takes for a model of BERT-base's size, as a process of its own.

python benchmarks/compile_time.py [--profile exact friendly] [--layers 12] [--no-keep]
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

from encoder import BERT_BASE, write
from results import load, mega, publish, seconds


def compile_alone(model: Path, plan: Path, profile: str) -> tuple[float, float]:
    """Wall seconds, and the most bytes that were resident."""
    command = [sys.executable, "-m", "ppc.cli", "compile", str(model), "-o", str(plan), "--profile", profile]
    begun = time.perf_counter()
    child = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    _, status, used = os.wait4(child.pid, 0)
    if status:
        raise SystemExit(f"{' '.join(command)}: exit status {os.waitstatus_to_exitcode(status)}")
    return time.perf_counter() - begun, used.ru_maxrss * 1024.0


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--profile", nargs="+", default=["exact", "friendly"])
    parser.add_argument("--layers", type=int, default=BERT_BASE.layers)
    parser.add_argument("--no-keep", action="store_true", help="leave RESULTS.md alone")
    args = parser.parse_args()
    busy, encoder = load(), replace(BERT_BASE, layers=args.layers)
    table = [["profile", "model MB", "seconds", "peak MB", "plan MB", "weights MB"]]
    with tempfile.TemporaryDirectory() as folder:
        model = write(encoder, Path(folder) / "model.onnx")
        for profile in args.profile:
            plan = Path(folder) / f"{profile}.bin"
            taken, most = compile_alone(model, plan, profile)
            sizes = [mega(each.stat().st_size) for each in (plan, plan.with_suffix(".weights"))]
            table.append([profile, mega(model.stat().st_size), seconds(taken), mega(most), *sizes])
    publish("Compiling BERT-base", [table], [str(encoder)], busy, not args.no_keep)


if __name__ == "__main__":
    main()
