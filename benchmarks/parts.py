"""Where the bytes of an encoder layer's functions go: comparing, selecting, squaring, truncating.

    python benchmarks/parts.py [--shape base minilm] [--profile exact] [--no-keep]

Nothing is run. Each part of a spline is priced by itself, offline and online together, without the setup and
extension of OTs.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

from encoder import SHAPES, Encoder, feeds, write
from results import Table, load, publish

import ppc
from ppc.runtime.base.ring import BIT, Fixed
from ppc.runtime.base.share import Share
from ppc.runtime.he.engine import HeEngine
from ppc.runtime.party.ledger import Place
from ppc.runtime.party.party import Party, priced
from ppc.runtime.party.ports import Engines
from ppc.runtime.party.role import Role
from ppc.runtime.plan import steps
from ppc.runtime.plan.step import Form
from ppc.runtime.protocols import booleans, compare, maximum, multiply, truncate
from ppc.runtime.session.engines import CountingSource

HEAD = [
    "function",
    "elements",
    "knots",
    "comparing",
    "selecting",
    "squaring",
    "truncating",
    "bytes an element",
]
SAMPLES = 4

Program = Callable[[Party], object]


PLACE = Place("all", "part")


def said(program: Program) -> int:
    """Bytes, both ways."""

    def engines(p: Party) -> Engines:
        return Engines({role: CountingSource(role) for role in Role}, HeEngine(p))

    def at(p: Party) -> None:
        with p.ledger.at(PLACE):
            program(p)

    return priced(at, engines).rows[PLACE].bytes


def parts(step: steps.Spline, num: Fixed, shape: tuple[int, ...]) -> Iterator[int]:
    """Bytes of each part."""
    spec = step.spec
    narrowed, plain = Fixed(spec.compare_bits), Fixed(spec.quad.bits)
    kinds = [(spec.narrow, len(spec.jumps))] if spec.jumps else []
    kinds += [(num, len(spec.gates))] if spec.gates else []

    def comparing(p: Party) -> None:
        made = compare.compare_offline(p, narrowed, shape, spec.thresholds)
        compare.compare(p, Share(narrowed, shape, None), spec.thresholds, made)

    def selecting(p: Party) -> None:
        for at, count in kinds:
            tiled = (*shape, count)
            made = booleans.select_offline(p, at, tiled)
            booleans.select(p, Share(BIT, tiled, None), Share(at, tiled, None), made)

    def squaring(p: Party) -> None:
        if spec.curved:
            multiply.square(p, Share(plain, shape, None), multiply.square_offline(p, plain, shape))

    def truncating(p: Party) -> None:
        for at, _ in kinds:
            made = truncate.truncate_offline(p, at, spec.out, shape)
            truncate.truncate(p, Share(at, shape, None), spec.out, made)

    yield from (said(each) for each in (comparing, selecting, squaring, truncating))


def rows(encoder: Encoder, profile: str) -> Iterator[list[str]]:
    samples = [feeds(encoder, seed) for seed in range(SAMPLES)]
    with tempfile.TemporaryDirectory() as folder:
        model = write(encoder, Path(folder) / "encoder.onnx")
        plan = ppc.compile(model, profile=profile, calibrate=samples).plan
    for step in plan.steps:
        if not isinstance(step, steps.Spline | steps.Maximum):
            continue
        form = plan.forms[step.x]
        count = form.size
        if isinstance(step, steps.Maximum):
            whole = said(partial(_maximum, step, form))
            yield ["maximum", f"{count:,}", "", "", "", "", "", f"{whole / count:.1f}"]
            continue
        each = list(parts(step, form.num, form.shape))
        cells = [f"{part / count:.1f}" for part in (*each, sum(each))]
        yield [step.function or "relu", f"{count:,}", str(len(step.spec.thresholds.values)), *cells]


def _maximum(step: steps.Maximum, form: Form, p: Party) -> None:
    made = maximum.maximum_offline(p, form.num, form.shape, step.drop)
    maximum.maximum(p, Share(form.num, form.shape, None), step.drop, made)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--shape", nargs="+", choices=SHAPES, default=["base"])
    parser.add_argument("--profile", default="exact")
    parser.add_argument("--no-keep", action="store_true", help="print, and append nothing to RESULTS.md")
    args = parser.parse_args()
    busy = load()
    tables: list[Table] = [[HEAD, *rows(SHAPES[name], args.profile)] for name in args.shape]
    publish(f"Parts of functions, {', '.join(args.shape)}", tables, busy=busy, keep=not args.no_keep)


if __name__ == "__main__":
    main()
