"""How many texts drive a value out of its ring, by what a model was calibrated on.

    python benchmarks/wraps.py [--model L3 L6 mpnet smollm2] [--calibrate blind sst2:32 all:64] [--margin 2]
                               [--texts 1000] [--tokens 64]

Trained models of the package index, on SST-2 and MRPC (`models/texts.py` says where those are looked for).
``sst2:32`` calibrates on 32 texts of SST-2, ``all:64`` on as many of both in turn; what is tested are other
texts, of both. A decoder has no mask: its prompts are filled with texts one behind the other. The nearest
place is the least headroom of any value over all texts, in bits; cosines are to ONNX Runtime's outputs, and
the same first are the prompts after which both find the same token likeliest.
"""

from __future__ import annotations

import argparse
import collections
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray
from results import load, publish
from tokenizers import Tokenizer

import ppc
from ppc.runtime.session.connection import predict_cost

sys.path.append(str(Path(__file__).parent.parent / "models"))

import mpnet
from minilm import OUTPUT, minilm_l6
from packaged import MINILM, MINILM_OUTPUT, TOKENIZER, packaged
from texts import encoded, filled, texts

Feeds = dict[str, NDArray[np.int64]]


@dataclass(frozen=True)
class Trained:
    """``build`` makes it for so many tokens; a decoder's prompts are full and its output is of tokens."""

    build: Callable[[int], onnx.ModelProto]
    output: str
    tokenizer: Callable[[], Tokenizer]
    decoder: bool = False

    def feeds(self, inputs: Sequence[str], some: Iterable[str], tokens: int) -> Iterator[Feeds]:
        known = self.tokenizer()
        if self.decoder:
            return filled(known, inputs, some, tokens)
        return (encoded(known, inputs, text, tokens) for text in some)


def wordpiece() -> Tokenizer:
    return Tokenizer.from_file(str(packaged(TOKENIZER)))


def _smollm2() -> Trained:
    import smollm2  # reads its file with gguf, which the others do without

    return Trained(
        lambda tokens: smollm2.build(smollm2.weights(), tokens), "logits", smollm2.tokenizer, decoder=True
    )


MODELS: dict[str, Callable[[], Trained]] = {
    "L3": lambda: Trained(lambda tokens: onnx.load(packaged(MINILM)), MINILM_OUTPUT, wordpiece),
    "L6": lambda: Trained(lambda tokens: minilm_l6(), OUTPUT, wordpiece),
    "mpnet": lambda: Trained(lambda tokens: mpnet.mpnet(), OUTPUT, mpnet.tokenizer),
    "smollm2": _smollm2,
}

HEAD = (
    *(
        "model",
        "calibrated on",
        "margin",
        "texts",
        "wrapped",
        "alarms",
        "least headroom, bits",
        "where",
        "MB",
    ),
    *("worst cosine", "median", "same first"),
)


def mixed(sets: Sequence[Sequence[str]]) -> list[str]:
    """From each in turn, as long as all have some."""
    return [text for some in zip(*sets, strict=False) for text in some]


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--model", nargs="+", choices=MODELS, default=["L3", "L6"])
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
    with tempfile.TemporaryDirectory() as folder:
        for model in args.model:
            path, trained = Path(folder) / f"{model}.onnx", MODELS[model]()
            made = trained.build(args.tokens)
            names = [each.name for each in made.graph.input]
            onnx.save(made, path)
            feeds = list(trained.feeds(names, tested, args.tokens))
            exact = in_the_clear(path, trained.output, feeds)
            for calibrated in args.calibrate:
                kind, _, count = calibrated.partition(":")
                shown = None
                if count:
                    others = (text for text in sets[kind] if text not in tested)
                    shown = list(islice(trained.feeds(names, others, args.tokens), int(count)))
                for margin in args.margin or [None]:
                    begun = time.perf_counter()
                    compiled = ppc.compile(
                        path, seq_len=args.tokens, outputs=(trained.output,), calibrate=shown, margin=margin
                    )
                    row, found = measured(compiled.plan, compiled.weights, feeds, args.places)
                    table.append([model, calibrated, "default" if margin is None else f"{margin:g}", *row])
                    table[-1] += agreement(exact, found, trained.decoder)
                    print(*table[-1], f"{time.perf_counter() - begun:.0f} s", file=sys.stderr)
    publish("Texts that leave a ring", [table], [f"{args.tokens} tokens"], busy, not args.no_keep)


def in_the_clear(model: Path, output: str, feeds: Sequence[Feeds]) -> NDArray[np.float64]:
    """(texts, width): ONNX Runtime's."""
    session = onnxruntime.InferenceSession(str(model), providers=["CPUExecutionProvider"])
    return np.array([np.ravel(session.run([output], each)[0]) for each in feeds], np.float64)


def agreement(exact: NDArray[np.float64], found: NDArray[np.float64], decoder: bool) -> list[str]:
    """Worst and median cosine, and of a decoder how often the likeliest token is the same."""
    norms = np.linalg.norm(exact, axis=1) * np.linalg.norm(found, axis=1)
    cosines = (exact * found).sum(axis=1) / norms
    same = str(int((exact.argmax(axis=1) == found.argmax(axis=1)).sum())) if decoder else ""
    return [f"{cosines.min():.5f}", f"{np.median(cosines):.6f}", same]


def measured(
    plan: ppc.Plan, weights: ppc.Weights, feeds: Sequence[Feeds], places: bool
) -> tuple[list[str], NDArray[np.float64]]:
    """How many were tried, left a ring and would alarm the guard; the least headroom and where; the bytes of
    an inference; and (texts, width) the outputs."""
    simulator = ppc.Simulator(plan, weights)
    wrapped, alarms, nearest, outputs = 0, 0, None, []
    where: collections.Counter[str] = collections.Counter()
    for at in range(0, len(feeds), 16):
        for each in simulator.run(feeds[at : at + 16], wrapping=True):
            wrapped += bool(each.wraps)
            alarms += bool(each.left)
            (output,) = each.outputs.values()
            outputs.append(np.ravel(output))
            where.update({f"{reach.name} {reach.when}": 1 for reach in each.wraps})
            worst = min(each.reaches, key=lambda reach: reach.headroom)
            nearest = worst if nearest is None else min(nearest, worst, key=lambda reach: reach.headroom)
    assert nearest is not None
    for place, count in where.most_common() if places else ():
        print(f"{count:5} {place}", file=sys.stderr)
    ledger = predict_cost(plan)
    total = sum(ledger.total(phase).client + ledger.total(phase).server for phase in ("offline", "online"))
    row = [
        f"{len(feeds):,}",
        str(wrapped),
        str(alarms),
        f"{nearest.headroom:.2f}",
        f"{nearest.name} {nearest.when}",
        f"{total / 1e6:.1f}",
    ]
    return row, np.array(outputs, np.float64)


if __name__ == "__main__":
    main()
