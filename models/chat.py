"""Questions to SmolLM2-135M-Instruct that its server does not see, by two processes, beside ONNX Runtime.

One process holds the model's weights, the other the question and what comes of it; they talk over TCP on this
machine. The model is compiled once, which takes minutes, and kept until something that it is made of changes.

    pip install --no-deps -r models/requirements-chat.txt
    python models/chat.py [--tokens 12] [--prompt-len 32] [--out chat-out] [QUESTION ...]
"""

from __future__ import annotations

import argparse
import hashlib
import json
import resource
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
import onnx

sys.path.append(str(Path(__file__).parent))

from demo import PPC, ppc, say, server
from llama import with_past
from smollm2 import NAME, Gguf, save_tokenizer, weights

from ppc import Tokenizer, __version__
from ppc.frontend.read.run import Runner
from ppc.runtime.plan.file import VERSION

MOST = 16
"""Tokens for which the plan has room."""

NETWORK = "20Mbit,2ms"
"""What the plan is for: few bytes, since two processes on one machine are soon at each other."""

CLOSE = 0.1
"""Of the logits' spread: where ONNX Runtime prefers its own token by less, the plan's may be the other one.

`docs/trained.md` has how far both lie apart.
"""

CHATS = Path(__file__).with_name("chats.tsv")

SYSTEM = ""
"""In place of the template's greeting, whose sixteen tokens every question would pay for."""


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("questions", nargs="*", metavar="QUESTION", help="asked for if there is none")
    parser.add_argument("--tokens", type=int, default=12, help=f"in an answer, {MOST} at most")
    parser.add_argument("--prompt-len", type=int, default=32, help="tokens that a question may have")
    parser.add_argument("--out", type=Path, default=Path("chat-out"), help="where all is kept")
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)

    plan = compiled(args.out, args.prompt_len)
    agreed = True
    try:
        with server(plan) as address:
            for question in args.questions or asked():
                agreed &= answer(plan, address, question, args.tokens)
    except KeyboardInterrupt:
        return 130
    return 0 if agreed else 1


def asked() -> Iterator[str]:
    """Questions at the terminal, to an empty one."""
    while True:
        try:
            question = input("\nyou: ").strip()
        except EOFError:
            return
        if not question:
            return
        yield question


def compiled(out: Path, prompt: int) -> Path:
    """The plan, which is made again only if what it is made of is not what it was made of."""
    plan, made = out / "plan.bin", out / "made.json"
    sources = {
        "weights": hashlib.sha256(weights().read_bytes()).hexdigest(),
        "chats": hashlib.sha256(CHATS.read_bytes()).hexdigest(),
        "prompt": prompt,
        "ppc": f"{__version__}, protocol version {VERSION}",
    }
    if made.is_file() and json.loads(made.read_text()) == sources:
        say(f"{plan} is there, for questions of up to {prompt} tokens")
        return plan
    made.unlink(missing_ok=True)
    say(
        f"{NAME}, questions of up to {prompt} tokens and answers of {MOST}, profile exact: compiling, minutes"
    )
    onnx.save(with_past(Gguf(weights()), NAME), out / "model.onnx")
    save_tokenizer(out / "tokenizer.json")
    np.savez(out / "chats.npz", **chats(Tokenizer(out), prompt + MOST - 1))
    begun = perf_counter()
    ppc(
        "compile", out / "model.onnx", "-o", plan, "--generate", "--prompt-len", prompt, "--max-tokens", MOST,
        "--max-error", 1, "--network", NETWORK, "--calibrate", out / "chats.npz", "--json",
    )  # fmt: skip
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024
    say(f"compiled in {perf_counter() - begun:.0f} s and {peak / 1e9:.1f} GB of memory")
    made.write_text(json.dumps(sources))
    return plan


def chats(tokenizer: Tokenizer, length: int) -> dict[str, Any]:
    """The questions and answers of `CHATS` as inputs of the model, (chats, 1, length) each."""
    rows = []
    for line in CHATS.read_text().splitlines():
        question, answered = line.split("\t")
        rows.append([*asking(tokenizer, question), *tokenizer.encode(answered)][:length])
    shape = (len(rows), 1, length)
    ids, mask = np.zeros(shape, np.int64), np.zeros(shape, np.int64)
    for i, row in enumerate(rows):
        ids[i, 0, : len(row)], mask[i, 0, : len(row)] = row, 1
    places = np.broadcast_to(np.arange(length), shape)
    return {"input_ids": ids, "attention_mask": mask, "position_ids": places}


def asking(tokenizer: Tokenizer, question: str) -> list[int]:
    """The prompt of a question."""
    return tokenizer.chat([{"role": "system", "content": SYSTEM}, {"role": "user", "content": question}])


def answer(plan: Path, address: str, question: str, most: int) -> bool:
    """One question, the answer as it comes, and what each token cost; whether ONNX Runtime says the same."""
    report = plan.with_name("client.json")
    say(f"\nyou: {question}\n{NAME.partition('-')[0]}:")
    command = [
        *PPC, "generate", plan, "--role", "client", "--connect", address, "--chat", question,
        "--system", SYSTEM, "--tokenizer", plan.parent, "--max-tokens", most, "--report", report,
    ]  # fmt: skip
    if subprocess.run(list(map(str, command))).returncode:
        return False
    told = json.loads(report.read_text())["tokens"]
    tokenizer = Tokenizer(plan.parent)
    say("\n" + "  ".join(f"{head:>12}" for head in ("token", "s", "offline, MB", "online, MB")))
    for each in told:
        parts = (each["setup"] + each["offline"], each["online"])
        sizes = "  ".join(f"{part / 1e6:12.1f}" for part in parts)
        say(f"{tokenizer.decode([each['id']])!r:>12}  {each['seconds']:12.1f}  {sizes}")
    return compare(plan.with_name("model.onnx"), asking(tokenizer, question), [each["id"] for each in told])


def compare(model: Path, prompt: Sequence[int], said: Sequence[int]) -> bool:
    """Whether each token is ONNX Runtime's likeliest after those before it, or nearly."""
    ids = [*prompt, *said]
    feeds: dict[str, Any] = {
        "input_ids": [ids], "attention_mask": [[1] * len(ids)], "position_ids": [list(range(len(ids)))],
    }  # fmt: skip
    logits = Runner(model, ["logits"]).run(feeds)["logits"][0, len(prompt) - 1 : -1].astype(np.float64)
    behind = (logits.max(-1) - logits[range(len(said)), said]) / logits.std(-1)
    same = int(np.count_nonzero(behind == 0))
    say(f"\n{same} of {len(said)} tokens are ONNX Runtime's likeliest")
    for i in np.flatnonzero(behind):
        say(f"  token {i + 1} is another, which it has {behind[i]:.3f} of the logits' spread behind its own")
    if (behind > CLOSE).any():
        say("FAILED: that is further than a plan is from the model")
        return False
    return True


if __name__ == "__main__":
    sys.exit(main())
