"""Two sentences, embedded privately between two processes, beside ONNX Runtime's answer.

    python models/demo.py [--seq-len 32] [--out demo-out] [sentence sentence]
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from packaged import MINILM, MINILM_OUTPUT, TOKENIZER, packaged
from tokenizers import Tokenizer

SENTENCES = ("A man is playing a guitar on stage.", "Someone performs music in front of an audience.")
PPC = [sys.executable, "-m", "ppc.cli"]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sentences", nargs="*", default=SENTENCES)
    parser.add_argument("--seq-len", type=int, default=32)
    parser.add_argument("--out", type=Path, default=Path("demo-out"))
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    plan = args.out / "plan.bin"

    print("compile: paraphrase-MiniLM-L3-v2, profile exact", flush=True)
    _ppc("compile", packaged(MINILM), "-o", plan, "--seq-len", args.seq_len, "--output", MINILM_OUTPUT)

    server, address = _start_server(plan)
    private, plain, reports = [], [], []
    try:
        for i, sentence in enumerate(args.sentences):
            print(f"\nclient: {sentence!r}", flush=True)
            out, report = args.out / f"out{i}.npz", args.out / f"client{i}.json"
            _ppc("run", plan, "--role", "client", "--connect", address, "--text", sentence,
                 "--tokenizer", packaged(TOKENIZER), "-o", out, "--report", report)  # fmt: skip
            private.append(np.load(out)[MINILM_OUTPUT][0])
            plain.append(_onnxruntime(sentence, args.seq_len))
            reports.append(json.loads(report.read_text()))
            print(f"cosine to onnxruntime: {_cosine(private[-1], plain[-1]):.6f}")
    finally:
        server.terminate()
        server.wait(timeout=20)

    ok = all(_cosine(a, b) >= 0.9999 for a, b in zip(private, plain, strict=True))
    if len(private) > 1:
        print(f"\nsimilarity of the two sentences: {_cosine(*private[:2]):.4f} privately, {_cosine(*plain[:2]):.4f} in the clear")
    _summary(reports)
    print("ok" if ok else "FAILED: a private embedding differs from onnxruntime's")
    return 0 if ok else 1


def _ppc(*args: object) -> None:
    subprocess.run([*PPC, *map(str, args)], check=True)


def _start_server(plan: Path) -> tuple[subprocess.Popen[str], str]:
    """A server on any free port, which it tells on stderr."""
    server = subprocess.Popen(
        [*PPC, "run", str(plan), "--role", "server", "--listen", "127.0.0.1:0"], stderr=subprocess.PIPE, text=True
    )
    assert server.stderr is not None
    line = server.stderr.readline()
    print(f"server: {line.strip()}", flush=True)
    _drain(server)
    return server, line.split()[-1]


def _drain(server: subprocess.Popen[str]) -> None:
    import threading

    assert server.stderr is not None
    threading.Thread(target=server.stderr.read, daemon=True).start()


def _onnxruntime(sentence: str, seq_len: int) -> Any:
    tokenizer = Tokenizer.from_file(str(packaged(TOKENIZER)))
    tokenizer.no_truncation()
    tokenizer.enable_padding(length=seq_len)
    encoded = tokenizer.encode(sentence)
    feeds = {"input_ids": np.array([encoded.ids]), "attention_mask": np.array([encoded.attention_mask])}
    session = onnxruntime.InferenceSession(str(packaged(MINILM)), providers=["CPUExecutionProvider"])
    return session.run([MINILM_OUTPUT], feeds)[0][0]


def _cosine(a: Any, b: Any) -> float:
    return float(a @ b / np.linalg.norm(a) / np.linalg.norm(b))


def _summary(reports: list[dict[str, Any]]) -> None:
    last = reports[-1]
    print(f"\nlast inference, as the client saw it ({last['seconds']:.1f} s, peak memory {last['peak_memory'] / 1e6:.0f} MB):")
    print(f"{'':>8}  {'seconds':>8}  {'sent':>12}  {'predicted':>12}  {'received':>12}  {'predicted':>12}  flights")
    for phase in ("setup", "offline", "online"):
        got, said = last[phase], last["predicted"][phase]
        print(
            f"{phase:>8}  {got['seconds']:8.2f}  {got['sent']:12,}  {said['sent']:12,}  "
            f"{got['received']:12,}  {said['received']:12,}  {got['flights']} / {said['flights']}"
        )


if __name__ == "__main__":
    sys.exit(main())
