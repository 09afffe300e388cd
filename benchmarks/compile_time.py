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

from encoder import BERT_BASE
from results import load, mega, publish, seconds


def compile_alone(model: Path, plan: Path, profile: str) -> tuple[float, float, float]:
    """Wall seconds, seconds of processor, and the most bytes that were resident."""
    command = [sys.executable, "-m", "ppc.cli", "compile", str(model), "-o", str(plan), "--profile", profile]
    begun = time.perf_counter()
    child = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    _, status, used = os.wait4(child.pid, 0)
    if status:
        raise SystemExit(f"{' '.join(command)}: exit status {os.waitstatus_to_exitcode(status)}")
    return time.perf_counter() - begun, used.ru_utime + used.ru_stime, used.ru_maxrss * 1024.0


def write_alone(model: Path, layers: int) -> None:
    """By a process of its own: what one holds before it starts another counts as that one's memory."""
    script = str(Path(__file__).with_name("encoder.py"))
    sizes = ["--shape", "base", "--layers", str(layers), "--lookup", str(BERT_BASE.lookup)]
    subprocess.run([sys.executable, script, str(model), *sizes], check=True, stdout=subprocess.DEVNULL)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--profile", nargs="+", default=["exact", "friendly"])
    parser.add_argument("--layers", type=int, default=BERT_BASE.layers)
    parser.add_argument("--no-keep", action="store_true", help="leave RESULTS.md alone")
    args = parser.parse_args()
    busy, encoder = load(), replace(BERT_BASE, layers=args.layers)
    table = [["profile", "model MB", "seconds", "of processor", "peak MB", "plan MB", "weights MB"]]
    with tempfile.TemporaryDirectory() as folder:
        model = Path(folder) / "model.onnx"
        write_alone(model, args.layers)
        for profile in args.profile:
            plan = Path(folder) / f"{profile}.bin"
            taken, worked, most = compile_alone(model, plan, profile)
            sizes = [mega(each.stat().st_size) for each in (plan, plan.with_suffix(".weights"))]
            size = mega(model.stat().st_size)
            table.append([profile, size, seconds(taken), seconds(worked), mega(most), *sizes])
    publish("Compiling BERT-base", [table], [str(encoder)], busy, not args.no_keep)


if __name__ == "__main__":
    main()
