"""How cost grows with tokens and with layers, on a narrow encoder.

    python benchmarks/growth.py [--tokens 16 32 64 128 256] [--layers 1 2 4 8 12] [--profile exact]
                                [--no-keep]

The exponent is that of the step from the row above: 1 is linear, 2 is quadratic.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable
from dataclasses import replace
from math import log

from encoder import Encoder
from layers import measure
from results import load, mega, publish, seconds
from two_parties import Run

NARROW = Encoder(hidden=128, heads=4, ffn=512, tokens=32)
HEAD = [
    "",
    "offline s",
    "online s",
    "MB offline",
    "^",
    "MB online",
    "^",
    "flights online",
    "server MB",
    "client MB",
]
NOTES = [
    "What to expect: scores, softmax and P·V grow with the square of the tokens, all else in proportion, so "
    "the exponent of bytes rises from 1 toward 2 as attention takes over. With layers everything grows in "
    "proportion, beside what a session costs once: base OTs, keys, and the extension of OTs that is not used "
    "up. Flights depend on tokens only by the rounds of the maximum, one more for each doubling.",
]


def grown(now: float, before: float | None, factor: float) -> str:
    """The exponent of growth over a ``factor``."""
    return f"{log(now / before) / log(factor):.2f}" if before else ""


def varied(name: str, value: int) -> Encoder:
    return replace(NARROW, tokens=value) if name == "tokens" else replace(NARROW, layers=value)


def series(name: str, values: Iterable[int], profile: str, repeat: int) -> list[list[str]]:
    """One table: ``name`` is the field of the encoder that takes the values."""
    table, last, at = [[name, *HEAD[1:]]], None, 0
    for value in values:
        run: Run = measure(varied(name, value), profile, repeat)
        off, on = run.bytes("offline"), run.bytes("online")
        factor = value / at if at else 1.0
        table.append([
            str(value), seconds(run.phase("offline", "seconds")), seconds(run.phase("online", "seconds")),
            mega(off), grown(off, last.bytes("offline") if last else None, factor),
            mega(on), grown(on, last.bytes("online") if last else None, factor),
            str(run.flights("online")), f"{run.server_peak / 1e6:.0f}",
            f"{run.report['peak_memory'] / 1e6:.0f}",
        ])  # fmt: skip
        last, at = run, value
    return table


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--tokens", nargs="*", type=int, default=[16, 32, 64, 128, 256])
    parser.add_argument("--layers", nargs="*", type=int, default=[1, 2, 4, 8, 12])
    parser.add_argument("--profile", default="exact")
    parser.add_argument("--repeat", type=int, default=1)
    parser.add_argument("--no-keep", action="store_true", help="leave RESULTS.md alone")
    args = parser.parse_args()
    busy = load()
    tables = [
        series(name, values, args.profile, args.repeat)
        for name, values in (("tokens", args.tokens), ("layers", args.layers))
        if values
    ]
    publish(
        "Growth",
        tables,
        [f"{NARROW}, where not varied; profile {args.profile}", *NOTES],
        busy,
        not args.no_keep,
    )


if __name__ == "__main__":
    main()
