"""Two sentences, embedded privately by two processes, beside ONNX Runtime's answer.

One process holds the model's weights, the other the sentence; they talk over TCP on this machine.

    python models/demo.py [--seq-len 32] [--out demo-out] [SENTENCE ...]
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray
from packaged import MINILM, MINILM_OUTPUT, TOKENIZER, packaged
from tokenizers import Tokenizer

SENTENCES = ("A man is playing a guitar on stage.", "Someone performs music in front of an audience.")
PHASES = ("setup", "offline", "online")
AGREEMENT = 0.9999
"""Cosine to ONNX Runtime's embedding that a private one must reach."""

Vector = NDArray[np.float64]


@dataclass(frozen=True)
class Embedding:
    """One sentence's embedding, privately and in the clear, and the client's report of what it cost."""

    private: Vector
    clear: Vector
    report: dict[str, Any]

    @property
    def agreement(self) -> float:
        return cosine(self.private, self.clear)


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("sentences", nargs="*", default=SENTENCES, metavar="SENTENCE")
    parser.add_argument("--seq-len", type=int, default=32, help="tokens that a prompt is padded to")
    parser.add_argument(
        "--out", type=Path, default=Path("demo-out"), help="where plan and reports are written"
    )
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)

    plan = compile_model(args.out / "plan.bin", args.seq_len)
    found = []
    with server(plan) as address:
        for sentence in args.sentences:
            found.append(embed(plan, address, sentence, args.seq_len))
            told = found[-1].report
            say(f'client: "{sentence}"')
            say(f"        cosine to onnxruntime {found[-1].agreement:.6f}, {told['seconds']:.1f} s")
    compare(found)
    return verdict(found)


def compile_model(plan: Path, seq_len: int) -> Path:
    say(f"paraphrase-MiniLM-L3-v2 (BERT, 3 layers of 384), {seq_len} tokens, profile exact")
    done = ppc(
        "compile", packaged(MINILM), "-o", plan, "--seq-len", seq_len, "--output", MINILM_OUTPUT, "--json"
    )
    summary = json.loads(done)
    say(f"compiled in {summary['seconds']:.1f} s")
    say(f"        {plan}  {plan.stat().st_size:,} bytes, public")
    weights = Path(summary["weights_file"])
    say(f"        {weights}  {weights.stat().st_size:,} bytes, the server's alone")
    return plan


@contextmanager
def server(plan: Path) -> Iterator[str]:
    """A server on any free port, as a process of its own; gives its address."""
    command = [*PPC, "run", str(plan), "--role", "server", "--listen", "127.0.0.1:0"]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    try:
        heard: list[str] = []
        for line in process.stderr:
            heard.append(line.strip())
            if "serving" in line:
                break
        else:
            raise SystemExit(f"the server did not start: {' '.join(heard) or 'no word from it'}")
        threading.Thread(target=process.stderr.read, daemon=True).start()
        first = heard[-1][heard[-1].index("serving") :]
        say(f"server: {first}")
        yield first.split()[-1]
    finally:
        process.terminate()
        process.wait(timeout=20)


def embed(plan: Path, address: str, sentence: str, seq_len: int) -> Embedding:
    out, report = plan.with_name("out.npz"), plan.with_name("client.json")
    ppc(
        "run", plan, "--role", "client", "--connect", address, "--text", sentence,
        "--tokenizer", packaged(TOKENIZER), "-o", out, "--report", report,
    )  # fmt: skip
    with np.load(out) as outputs:
        private = outputs[MINILM_OUTPUT][0]
    return Embedding(private, in_the_clear(sentence, seq_len), json.loads(report.read_text()))


def in_the_clear(sentence: str, seq_len: int) -> Vector:
    """ONNX Runtime's embedding of the sentence, padded alike."""
    tokenizer = Tokenizer.from_file(str(packaged(TOKENIZER)))
    tokenizer.no_truncation()
    tokenizer.enable_padding(length=seq_len)
    encoded = tokenizer.encode(sentence)
    feeds = {"input_ids": np.array([encoded.ids]), "attention_mask": np.array([encoded.attention_mask])}
    session = onnxruntime.InferenceSession(str(packaged(MINILM)), providers=["CPUExecutionProvider"])
    embedding: Vector = np.asarray(session.run([MINILM_OUTPUT], feeds)[0][0], np.float64)
    return embedding


def compare(found: Sequence[Embedding]) -> None:
    if len(found) > 1:
        private, clear = cosine(found[0].private, found[1].private), cosine(found[0].clear, found[1].clear)
        say(f"similarity of the two sentences: {private:.4f} privately, {clear:.4f} by onnxruntime")
    last = found[-1].report
    say("\nthe last inference, as its client saw it:\n")
    heads = ("seconds", "sent, bytes", "predicted", "received", "predicted", "flights")
    say("{:>8}  {:>8}  {:>12}  {:>12}  {:>12}  {:>12}  {:>7}".format("", *heads))
    for phase in PHASES:
        got, said = last[phase], last["predicted"][phase]
        say(
            f"{phase:>8}  {got['seconds']:8.2f}  {got['sent']:12,}  {said['sent']:12,}  "
            f"{got['received']:12,}  {said['received']:12,}  {got['flights']:7,}"
        )


def verdict(found: Sequence[Embedding]) -> int:
    """0 if every embedding agrees with ONNX Runtime's and every cost with its prediction."""
    faults = []
    if any(each.agreement < AGREEMENT for each in found):
        faults.append(f"a private embedding is further than {AGREEMENT} from onnxruntime's")
    if any(not as_predicted(each.report) for each in found):
        faults.append("a run cost other bytes or flights than predicted")
    say("\nok" if not faults else "\nFAILED: " + "; ".join(faults))
    return 1 if faults else 0


def as_predicted(report: dict[str, Any]) -> bool:
    keys = ("sent", "received", "flights")
    return all(report[phase][key] == report["predicted"][phase][key] for phase in PHASES for key in keys)


def cosine(a: Vector, b: Vector) -> float:
    return float(a @ b / np.linalg.norm(a) / np.linalg.norm(b))


PPC = (sys.executable, "-m", "ppc.cli")


def ppc(*args: object) -> str:
    """Run one command to its end; its standard output. Ends the demonstration where it fails."""
    done = subprocess.run([*PPC, *map(str, args)], capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"ppc {args[0]} failed ({done.returncode}): {done.stderr.strip()}")
    return done.stdout


def say(line: str) -> None:
    print(line, flush=True)


if __name__ == "__main__":
    sys.exit(main())
