"""Predicted bytes and flights of an encoder layer with each substitution alone, and the cheapest together.

    python benchmarks/variants.py [--shape base minilm] [--layers 1] [--masked] [--only Softmax] [--no-keep]

``--masked`` gives the model a mask, which the client alone knows. Nothing is run: a plan is its own price.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from encoder import SHAPES, Encoder, feeds, write
from results import Table, load, mega, publish

import ppc
from ppc.passes.friendly import SUBSTITUTIONS

HEAD = ["operator", "instead", "MB offline", "MB online", "MB saved", "flights offline", "online"]
SAMPLES = 4
PRESENT = ("Gelu", "Softmax", "LayerNorm")


def replaced(chosen: Mapping[str, str]) -> str:
    """A profile that replaces these operators by these variants, and nothing else."""
    return "".join(f'[[replace]]\nop = "{op}"\nwith = "{name}"\n' for op, name in chosen.items())


def rows(encoder: Encoder, only: Sequence[str]) -> Iterator[list[str]]:
    """Exact, each variant alone, and the cheapest of every operator together."""
    samples = [feeds(encoder, seed) for seed in range(SAMPLES)]
    totals: dict[tuple[str, str], float] = {}
    with tempfile.TemporaryDirectory() as folder:
        model, profile = write(encoder, Path(folder) / "encoder.onnx"), Path(folder) / "one.toml"

        def row(op: str, name: str, chosen: Mapping[str, str]) -> list[str]:
            profile.write_text(replaced(chosen))
            made = ppc.compile(model, profile=str(profile), calibrate=samples)
            cost = ppc.summary(made.plan)["predicted"]
            phases = [cost[phase] for phase in ("offline", "online")]
            moved = [float(each["client"] + each["server"]) for each in phases]
            totals[op, name] = sum(moved)
            saved = totals["", "exact"] - sum(moved)
            return [op, name, *map(mega, (*moved, saved)), *(str(each["flights"]) for each in phases)]

        yield row("", "exact", {})
        for each in SUBSTITUTIONS:
            if (op := each.op.__name__) in only:
                yield row(op, each.name, {op: each.name})
        cheapest = {op: min((t, name) for (of, name), t in totals.items() if of == op)[1] for op in only}
        yield row("all", ", ".join(cheapest.values()), cheapest)


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
