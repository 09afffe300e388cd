"""The demonstration's model, paraphrase-MiniLM-L3-v2 from the package index: seconds, bytes and cosine.

python benchmarks/demo_model.py [--tokens 32] [--profile exact] [--repeat 3] [--no-keep]
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
from pathlib import Path

import numpy as np
from layers import HEAD, row
from results import load, publish
from two_parties import compile_model, typical

sys.path.append(str(Path(__file__).parent.parent / "models"))

from packaged import MINILM, MINILM_OUTPUT, packaged

VOCABULARY = 30522


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--tokens", type=int, default=32)
    parser.add_argument("--profile", nargs="+", default=["exact"])
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--no-keep", action="store_true", help="leave RESULTS.md alone")
    args = parser.parse_args()
    busy, table = load(), [list(HEAD)]

    def feeds(seed: int) -> dict[str, np.ndarray]:
        ids = np.random.default_rng(seed).integers(1000, VOCABULARY, (1, args.tokens))
        return {"input_ids": ids, "attention_mask": np.ones_like(ids)}

    with tempfile.TemporaryDirectory() as folder:
        model = Path(shutil.copy(packaged(MINILM), folder))
        for profile in args.profile:
            compiled = compile_model(
                model,
                profile,
                [feeds(seed) for seed in range(4)],
                seq_len=args.tokens,
                outputs=(MINILM_OUTPUT,),
            )
            table.append(row("MiniLM-L3", profile, typical(compiled, feeds(99), args.repeat)))
    publish("The demonstration's model", [table], [f"{args.tokens} tokens"], busy, not args.no_keep)


if __name__ == "__main__":
    main()
