"""The demonstration's model over connections: a fresh inference, further ones, and a prepared one.

python benchmarks/connection.py [--tokens 32] [--repeat 5] [--check-ot] [--no-keep]

A server process answers a client in this one. Of each kind the inference of median seconds counts. Bytes are
those of both directions.
"""

from __future__ import annotations

import argparse
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from results import load, publish
from two_parties import PPC, Feeds, compile_model

import ppc
from ppc.runtime.party.ledger import PHASES
from ppc.runtime.service.report import Report

sys.path.append(str(Path(__file__).parent.parent / "models"))

from packaged import MINILM, MINILM_OUTPUT, packaged

VOCABULARY = 30522
HEAD = ("inference", "s", *(f"{phase} {unit}" for phase in PHASES for unit in ("s", "bytes")), "flights")


def row(kind: str, reports: Sequence[Report]) -> list[str]:
    middle = statistics.median_low(each["seconds"] for each in reports)
    report = next(each for each in reports if each["seconds"] == middle)
    cells = [kind, f"{middle:.2f}"]
    for phase in PHASES:
        seen = report[phase]
        cells += [f"{seen['seconds']:.2f}", f"{seen['sent'] + seen['received']:,}"]
    return [*cells, str(sum(report[phase]["flights"] for phase in PHASES))]


@contextmanager
def server(command: str, plan: Path, *words: str) -> Iterator[tuple[str, int]]:
    """``ppc run`` or ``ppc prepare`` as the server; gives its address."""
    process = subprocess.Popen(
        [*PPC, command, str(plan), "--role", "server", "--listen", "127.0.0.1:0", *words],
        stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stderr is not None
    try:
        host, _, port = process.stderr.readline().split()[-1].rpartition(":")
        yield host, int(port)
        if command == "prepare":
            process.wait(timeout=600)
    finally:
        process.kill()
        process.communicate()


def measure(plan: Path, feeds: Feeds, repeat: int, check_ot: bool) -> list[list[str]]:
    public, options = ppc.load_plan(plan), ppc.SessionOptions(check_ot=check_ot)
    words = ["--check-ot"] if check_ot else []
    fresh, further, again, prepared = [], [], [], []
    for _ in range(repeat):
        with server("run", plan, "--fresh", *words) as address:
            client = ppc.Client(public, options)
            first, second = client.run_all([feeds] * 2, address)
            again.append(client.run(feeds, address).report)
        fresh.append(first.report)
        further.append(second.report)
    client = ppc.Client(public, options, store=plan.with_name("client.prepared"))
    with server("prepare", plan, "--count", str(repeat), *words) as address:
        client.prepare(repeat, address)
    with server("run", plan, *words) as address:
        for _ in range(repeat):
            outcome = client.run(feeds, address)
            if not outcome.material:
                raise SystemExit("nothing prepared was used")
            prepared.append(outcome.report)
    return [
        row("fresh", fresh),
        row("further, on the same connection", further),
        row("further, on one that goes on with it", again),
        row("prepared, on a connection of its own", prepared),
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--tokens", type=int, default=32)
    parser.add_argument("--repeat", type=int, default=5)
    parser.add_argument("--check-ot", action="store_true", help="with checks of OT extension")
    parser.add_argument("--no-keep", action="store_true", help="leave RESULTS.md alone")
    args = parser.parse_args()
    busy = load()

    def feeds(seed: int) -> Feeds:
        ids = np.random.default_rng(seed).integers(1000, VOCABULARY, (1, args.tokens))
        return {"input_ids": ids, "attention_mask": np.ones_like(ids)}

    with tempfile.TemporaryDirectory() as folder:
        model = Path(shutil.copy(packaged(MINILM), folder))
        samples = [feeds(seed) for seed in range(4)]
        compiled = compile_model(model, "exact", samples, seq_len=args.tokens, outputs=(MINILM_OUTPUT,))
        rows = measure(compiled.plan, feeds(99), args.repeat, args.check_ot)
    notes = [f"MiniLM-L3, {args.tokens} tokens, exact{', with --check-ot' if args.check_ot else ''}"]
    publish("A connection", [[HEAD, *rows]], notes, busy, not args.no_keep)


if __name__ == "__main__":
    main()
