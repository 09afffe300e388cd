"""How near each substitution, fitted and not tuned, leaves the embeddings of a trained model, and its price.

    python benchmarks/untuned.py [--base exact friendly] [--op Softmax LayerNorm] [--tokens 64] [--texts 200]
                                 [--calibrate 32] [--no-keep]

paraphrase-MiniLM-L3 with one operator replaced throughout, the others as in the base; calibrated on texts of
SST-2, tried on other texts of SST-2 and MRPC. Cosines are those of the emitted model to the original, both by
ONNX Runtime, those of short and of long texts beside them. Bytes and flights are foretold.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from results import load, mega, publish
from variants import PRESENT
from wraps import Feeds, in_the_clear, wordpiece

import ppc
from ppc.passes.friendly import SUBSTITUTIONS

sys.path.append(str(Path(__file__).parent.parent / "models"))

from packaged import MINILM, MINILM_OUTPUT, packaged
from texts import encoded, texts

HEAD = [
    "base", "operator", "with", "cosine, mean", "short texts", "long", "least", "MB offline", "MB online",
    "flights online",
]  # fmt: skip
SHORT, LONG = 16, 32
"""Tokens: fewer are short, as many or more long."""
INPUTS = ("input_ids", "attention_mask")


def profiles(bases: Sequence[str], only: Sequence[str]) -> Iterator[tuple[str, str, str]]:
    """Base, operator and variant; of each base first itself."""
    for base in bases:
        yield base, "", ""
        for each in SUBSTITUTIONS:
            if each.op.__name__ in only:
                yield base, each.op.__name__, each.name


def rows(
    bases: Sequence[str], only: Sequence[str], shown: Sequence[Feeds], tried: Sequence[Feeds], tokens: int
) -> Iterator[list[str]]:
    model = packaged(MINILM)
    exact = in_the_clear(model, MINILM_OUTPUT, tried)
    length = np.array([each["attention_mask"].sum() for each in tried])
    with tempfile.TemporaryDirectory() as folder:
        profile, emitted = Path(folder) / "one.toml", Path(folder) / "emitted.onnx"
        for base, op, variant in profiles(bases, only):
            replaced = f'[[replace]]\nop = "{op}"\nwith = "{variant}"\n' if op else ""
            profile.write_text(f'base = "{base}"\n{replaced}')
            made = ppc.compile(
                model, seq_len=tokens, outputs=(MINILM_OUTPUT,), profile=str(profile), calibrate=shown,
                emit_onnx=emitted,
            )  # fmt: skip
            found = in_the_clear(emitted, MINILM_OUTPUT, tried)
            cosines = (exact * found).sum(axis=1)
            cosines /= np.linalg.norm(exact, axis=1) * np.linalg.norm(found, axis=1)
            cost = ppc.summary(made.plan)["predicted"]
            moved = [mega(cost[phase]["client"] + cost[phase]["server"]) for phase in ("offline", "online")]
            means = [cosines[some].mean() for some in (length > 0, length < SHORT, length >= LONG)]
            yield [
                base, op, variant, *(f"{each:.3f}" for each in (*means, cosines.min())), *moved,
                str(cost["online"]["flights"]),
            ]  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--base", nargs="+", choices=("exact", "friendly"), default=["exact", "friendly"])
    parser.add_argument("--op", nargs="+", choices=PRESENT, default=PRESENT)
    parser.add_argument("--tokens", type=int, default=64)
    parser.add_argument("--texts", type=int, default=200)
    parser.add_argument("--calibrate", type=int, default=32)
    parser.add_argument("--no-keep", action="store_true", help="leave RESULTS.md alone")
    args = parser.parse_args()
    busy, tokenizer = load(), wordpiece()
    sst2, mrpc = texts("sst2"), texts("mrpc")
    half = args.texts // 2
    shown, tried = (
        [encoded(tokenizer, INPUTS, text, args.tokens) for text in some]
        for some in (sst2[: args.calibrate], [*sst2[-half:], *mrpc[-half:]])
    )
    table = [list(HEAD), *rows(args.base, args.op, shown, tried, args.tokens)]
    publish("Substitutions, untuned", [table], [f"{args.tokens} tokens"], busy, not args.no_keep)


if __name__ == "__main__":
    main()
