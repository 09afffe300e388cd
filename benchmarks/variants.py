"""Predicted bytes and flights of one encoder layer with each substitution alone, beside the layer as it is.

    python benchmarks/variants.py [--shape base minilm] [--layers 1] [--masked] [--only Softmax] [--no-keep]

``--masked`` gives the model a mask, which the client alone knows. Nothing is run: a plan is its own price.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from encoder import SHAPES, Encoder, feeds, write
from results import Table, load, mega, publish

import ppc
from ppc.passes.friendly import SUBSTITUTIONS

HEAD = ["operator", "instead", "MB offline", "MB online", "MB saved", "flights offline", "online"]
SAMPLES = 4
PRESENT = ("Gelu", "Softmax", "LayerNorm")


def profiles(only: Sequence[str]) -> Iterator[tuple[str, str, str]]:
    """Operator, variant, and the text of a profile that replaces nothing else."""
    yield "", "exact", 'base = "exact"\n'
    for each in SUBSTITUTIONS:
        op = each.op.__name__
        if op in only:
            yield op, each.name, f'[[replace]]\nop = "{op}"\nwith = "{each.name}"\n'


def rows(encoder: Encoder, only: Sequence[str]) -> Iterator[list[str]]:
    """A line for each profile, the first of exact."""
    samples = [feeds(encoder, seed) for seed in range(SAMPLES)]
    with tempfile.TemporaryDirectory() as folder:
        model, profile = write(encoder, Path(folder) / "encoder.onnx"), Path(folder) / "one.toml"
        before = 0.0
        for op, variant, text in profiles(only):
            profile.write_text(text)
            made = ppc.compile(model, profile=str(profile), calibrate=samples)
            cost = ppc.summary(made.plan)["predicted"]
            offline, online = (
                float(cost[phase]["client"] + cost[phase]["server"]) for phase in ("offline", "online")
            )
            before = before or offline + online
            flights = [str(cost[phase]["flights"]) for phase in ("offline", "online")]
            yield [op, variant, mega(offline), mega(online), mega(before - offline - online), *flights]


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--shape", nargs="+", choices=SHAPES, default=["base"])
    parser.add_argument("--layers", type=int, default=1)
    parser.add_argument("--masked", action="store_true", help="give the model a mask of the client's")
    parser.add_argument("--only", nargs="+", choices=PRESENT, default=PRESENT)
    parser.add_argument("--no-keep", action="store_true", help="leave RESULTS.md alone")
    args = parser.parse_args()
    busy = load()
    tables: list[Table] = []
    notes = []
    for shape in args.shape:
        encoder = replace(SHAPES[shape], layers=args.layers, masked=args.masked)
        tables.append([list(HEAD), *rows(encoder, args.only)])
        notes.append(f"{encoder}{', masked' if args.masked else ''}")
    publish("Substitutions, predicted", tables, notes, busy, keep=not args.no_keep)


if __name__ == "__main__":
    main()
