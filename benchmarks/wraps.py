"""How many texts drive a value out of its ring, by what a model was calibrated on.

    python benchmarks/wraps.py [--model L3 L6] [--calibrate blind sst2:32 all:64] [--margin 2] [--texts 1000]

Sentence models of the package index at 64 tokens, on SST-2 and MRPC (`models/texts.py` says where those are
looked for). ``sst2:32`` calibrates on 32 texts of SST-2, ``all:64`` on as many of both in turn; what is
tested are other texts, of both. The nearest place is the least headroom of any value over all texts, in bits.
"""

from __future__ import annotations

import argparse
import collections
import shutil
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray
from results import load, publish
from tokenizers import Tokenizer

import ppc
from ppc.runtime.session.connection import predict_cost

sys.path.append(str(Path(__file__).parent.parent / "models"))

from minilm import OUTPUT, minilm_l6
from packaged import MINILM, MINILM_OUTPUT, TOKENIZER, packaged
from texts import encoded, texts

Feeds = dict[str, NDArray[np.int64]]

HEAD = (
    "model", "calibrated on", "margin", "texts", "wrapped", "alarms", "least headroom, bits", "where", "MB"
)  # fmt: skip


def mixed(sets: Sequence[Sequence[str]]) -> list[str]:
    """From each in turn, as long as all have some."""
    return [text for some in zip(*sets, strict=False) for text in some]


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--model", nargs="+", choices=("L3", "L6"), default=["L3", "L6"])
    parser.add_argument("--calibrate", nargs="+", default=["blind", "sst2:8", "sst2:32", "all:64"])
    parser.add_argument("--margin", nargs="+", type=float, help="the compiler's default without it")
    parser.add_argument("--texts", type=int, default=1000)
    parser.add_argument("--tokens", type=int, default=64)
    parser.add_argument("--places", action="store_true", help="list where texts left their rings")
    parser.add_argument("--no-keep", action="store_true", help="leave RESULTS.md alone")
    args = parser.parse_args()
    busy, table = load(), [list(HEAD)]
    sets = {name: texts(name) for name in ("sst2", "mrpc")}
    sets["all"] = mixed(list(sets.values()))
    tested = sets["all"][-args.texts :]
    tokenizer = Tokenizer.from_file(str(packaged(TOKENIZER)))
    with tempfile.TemporaryDirectory() as folder:
        for model in args.model:
            path, output = Path(folder) / f"{model}.onnx", MINILM_OUTPUT if model == "L3" else OUTPUT
            if model == "L3":
                shutil.copy(packaged(MINILM), path)
            else:
                onnx.save(minilm_l6(), path)
            names = [each.name for each in onnx.load(path).graph.input]
            for calibrated in args.calibrate:
                kind, _, count = calibrated.partition(":")
                shown = None
                if count:
                    chosen = [text for text in sets[kind] if text not in tested][: int(count)]
                    shown = [encoded(tokenizer, names, text, args.tokens) for text in chosen]
                for margin in args.margin or [None]:
                    begun = time.perf_counter()
                    made = ppc.compile(
                        path, seq_len=args.tokens, outputs=(output,), calibrate=shown, margin=margin
                    )
                    feeds = [encoded(tokenizer, names, text, args.tokens) for text in tested]
                    row = measured(made.plan, made.weights, feeds, args.places)
                    table.append([model, calibrated, "default" if margin is None else f"{margin:g}", *row])
                    print(*table[-1], f"{time.perf_counter() - begun:.0f} s", file=sys.stderr)
    publish("Texts that leave a ring", [table], [f"{args.tokens} tokens"], busy, not args.no_keep)


def measured(
    plan: ppc.Plan, weights: ppc.Weights, feeds: Sequence[Feeds], places: bool
) -> tuple[str, str, str, str, str, str]:
    """How many were tried, left a ring and would alarm the guard; the least headroom and where; the bytes of
    an inference."""
    simulator = ppc.Simulator(plan, weights)
    wrapped, alarms, nearest = 0, 0, None
    where: collections.Counter[str] = collections.Counter()
    for at in range(0, len(feeds), 16):
        for each in simulator.run(feeds[at : at + 16], wrapping=True):
            wrapped += bool(each.wraps)
            alarms += bool(each.left)
            where.update({f"{reach.name} {reach.when}": 1 for reach in each.wraps})
            worst = min(each.reaches, key=lambda reach: reach.headroom)
            nearest = worst if nearest is None else min(nearest, worst, key=lambda reach: reach.headroom)
    assert nearest is not None
    for place, count in where.most_common() if places else ():
        print(f"{count:5} {place}", file=sys.stderr)
    ledger = predict_cost(plan)
    total = sum(ledger.total(phase).client + ledger.total(phase).server for phase in ("offline", "online"))
    return (
        f"{len(feeds):,}",
        str(wrapped),
        str(alarms),
        f"{nearest.headroom:.2f}",
        f"{nearest.name} {nearest.when}",
        f"{total / 1e6:.1f}",
    )


if __name__ == "__main__":
    main()
