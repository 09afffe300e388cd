"""A whole BERT-base of seeded weights: 12 layers, 128 tokens, the private look-up of 30,522 rows included.

python benchmarks/bert_base.py [--profile exact friendly] [--layers 12] [--network 50Mbit,40ms] [--link wan]
                               [--no-keep]
"""

from __future__ import annotations

import argparse
from dataclasses import replace

from encoder import BERT_BASE
from layers import HEAD, measure, row
from results import load, mega, publish, seconds
from two_parties import Run

LOOKUP = "/embeddings/word"


def look_up(run: Run) -> list[str]:
    """Seconds and bytes of the look-up alone, in both phases."""
    rows = [step for step in run.report["steps"] if LOOKUP in step["step"] and " Linear " in step["step"]]
    moved = sum(step["sent"] + step["received"] for step in rows)
    return [mega(moved), seconds(sum(step["seconds"] for step in rows))]


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--profile", nargs="+", default=["exact", "friendly"])
    parser.add_argument("--layers", type=int, default=BERT_BASE.layers)
    parser.add_argument("--repeat", type=int, default=1)
    parser.add_argument("--network", help="what the compiler chooses for; its own default if not given")
    parser.add_argument("--link", help="slow the connection down: lan, wan or BANDWIDTH,RTT")
    parser.add_argument("--no-keep", action="store_true", help="leave RESULTS.md alone")
    args = parser.parse_args()
    busy, encoder = load(), replace(BERT_BASE, layers=args.layers)
    whole, tables = [list(HEAD)], [["profile", "MB", "seconds, waiting included"]]
    for profile in args.profile:
        run = measure(encoder, profile, args.repeat, args.network, args.link)
        whole.append(row("BERT-base", profile, run))
        tables.append([profile, *look_up(run)])
    publish(
        "BERT-base",
        [whole, tables],
        [str(encoder), "Second table: the look-up alone."],
        busy,
        not args.no_keep,
    )


if __name__ == "__main__":
    main()
