"""This program and SPU 0.9.5 (Cheetah) on the same encoder layers in one run, and the ratios.

    python benchmarks/peers.py [--shape base minilm] [--profile exact friendly] [--spu .venv-spu/bin/python]
                               [--repeat 3] [--no-keep]

SPU needs an older numpy and so an environment of its own, which is made in .venv-spu where none is given. It
takes up to five minutes a layer. Beside ``exact`` it computes GELU and softmax; beside ``friendly`` ReLU and
the normalised ReLU, its LayerNorm staying. Its bytes are the loopback's, which nothing else should use.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from encoder import SHAPES, Encoder
from layers import measure
from results import load, mega, publish, seconds

ROOT = Path(__file__).parent.parent
SPU = "spu==0.9.5"
FUNCTIONS = {"exact": ("gelu", "softmax"), "friendly": ("relu", "relu")}
HEAD = [
    "layer", "profile", "s", "online s", "MB", "SPU s", "SPU MB", "SPU error",
    "time, SPU / ours", "SPU / online", "bytes, SPU / ours",
]  # fmt: skip

QUOTED = [
    ["one BERT-base layer, exact", "s", "MB"],
    ["Iron (the BOLT authors' implementation)", "284 – 293", "24,084"],
    ["BOLT without word elimination", "263 – 274", "4,660"],
    ["SPU 0.9.5, Cheetah", "294", "1,794"],
]
"""Measured on a machine of two cores, two processes on loopback."""


def environment(given: Path | None, folder: str, package: str) -> Path:
    """An interpreter that has ``package``: the one given, or one made in ``folder`` of the checkout."""
    if given is not None:
        return given
    python = ROOT / folder / "bin" / "python"
    if not python.exists():
        subprocess.run([sys.executable, "-m", "venv", str(python.parent.parent)], check=True)
        subprocess.run([str(python), "-m", "pip", "install", "--quiet", package], check=True)
    return python


def spu(python: Path, encoder: Encoder, profile: str) -> dict[str, Any]:
    """SPU's seconds, bytes and error; it is told to say nothing else."""
    activation, attention = FUNCTIONS[profile]
    sizes = {name: getattr(encoder, name) for name in ("layers", "hidden", "heads", "ffn", "tokens")}
    given = [word for name, value in sizes.items() for word in (f"--{name}", str(value))]
    script = str(Path(__file__).with_name("spu_encoder.py"))
    done = subprocess.run(
        [str(python), script, *given, "--activation", activation, "--attention", attention],
        check=True, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    found: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--shape", nargs="+", choices=SHAPES, default=list(SHAPES))
    parser.add_argument("--profile", nargs="+", choices=FUNCTIONS, default=list(FUNCTIONS))
    parser.add_argument("--spu", type=Path, help="an interpreter that has SPU installed")
    parser.add_argument("--repeat", type=int, default=3, help="of ours, whose median counts; SPU runs once")
    parser.add_argument("--no-keep", action="store_true", help="leave RESULTS.md alone")
    args = parser.parse_args()
    busy, python, table = load(), environment(args.spu, ".venv-spu", SPU), [HEAD]
    for shape in args.shape:
        for profile in args.profile:
            ours = measure(SHAPES[shape], profile, args.repeat)
            peer = spu(python, SHAPES[shape], profile)
            online = ours.phase("online", "seconds")
            table.append([
                shape, profile, seconds(ours.seconds), seconds(online), mega(ours.bytes()),
                seconds(peer["seconds"]), mega(peer["bytes"]), f"{peer['error']:.1e}",
                f"{peer['seconds'] / ours.seconds:.1f}", f"{peer['seconds'] / online:.0f}",
                f"{peer['bytes'] / ours.bytes():.1f}",
            ])  # fmt: skip
    notes = ["The second table is quoted, not measured in this run."]
    publish("Beside SPU", [table, QUOTED], notes, busy, not args.no_keep)


if __name__ == "__main__":
    main()
