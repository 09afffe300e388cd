"""How long `ppc simulate` takes for a sample of the demonstration's model, and a digest of its bits.

python benchmarks/simulate.py [--tokens 64] [--profile exact] [--at-once 1] [--samples 16] [--no-keep]
"""

from __future__ import annotations

import argparse
import hashlib
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from results import load, publish
from two_parties import Feeds, compile_model

import ppc

sys.path.append(str(Path(__file__).parent.parent / "models"))

from packaged import MINILM, MINILM_OUTPUT, packaged

VOCABULARY = 30522
HEAD = ("profile", "at once", "first ms", "ms a sample", "samples a second", "digest")


def prompt(seed: int, tokens: int) -> Feeds:
    """Uniform tokens, of which the last few are masked."""
    rng = np.random.default_rng(seed)
    ids = rng.integers(1000, VOCABULARY, (1, tokens))
    held = np.arange(tokens) < tokens - rng.integers(0, tokens // 2)
    return {"input_ids": ids * held, "attention_mask": held[None].astype(np.int64)}


def row(
    plan: ppc.Plan, weights: ppc.Weights, profile: str, samples: Sequence[Feeds], at_once: int
) -> list[str]:
    """The first batch, then the median of all others; the digest is of all outputs in order."""
    taken, outputs, simulator = [], [], ppc.Simulator(plan, weights)
    for start in range(0, len(samples), at_once):
        batch = samples[start : start + at_once]
        begun = time.perf_counter()
        outputs += [each.outputs[MINILM_OUTPUT].tobytes() for each in simulator.run(batch)]
        taken.append((time.perf_counter() - begun) / len(batch))
    usual = statistics.median(taken[1:] or taken)
    digest = hashlib.sha256(b"".join(outputs)).hexdigest()[:12]
    first = taken[0] * min(at_once, len(samples))
    return [profile, str(at_once), f"{first * 1e3:.1f}", f"{usual * 1e3:.1f}", f"{1 / usual:.1f}", digest]


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--tokens", type=int, default=64)
    parser.add_argument("--profile", nargs="+", default=["exact"])
    parser.add_argument("--at-once", nargs="+", type=int, default=[1], help="samples of a batch")
    parser.add_argument("--samples", type=int, default=16)
    parser.add_argument("--no-keep", action="store_true", help="leave RESULTS.md alone")
    args = parser.parse_args()
    busy, table = load(), [list(HEAD)]
    samples = [prompt(seed, args.tokens) for seed in range(args.samples)]
    with tempfile.TemporaryDirectory() as folder:
        model = Path(shutil.copy(packaged(MINILM), folder))
        for profile in args.profile:
            shown = [prompt(1000 + seed, args.tokens) for seed in range(4)]
            compiled = compile_model(model, profile, shown, seq_len=args.tokens, outputs=(MINILM_OUTPUT,))
            plan = ppc.load_plan(compiled.plan)
            weights = ppc.load_weights(compiled.plan.with_suffix(".weights"), plan)
            table += [row(plan, weights, profile, samples, each) for each in args.at_once]
    publish(
        "Simulating the demonstration's model", [table], [f"{args.tokens} tokens"], busy, not args.no_keep
    )


if __name__ == "__main__":
    main()
