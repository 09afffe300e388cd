"""How often a plan that generates says what floats say: its likeliest token, by the simulator.

    python benchmarks/greedy.py plan.bin model.onnx tokenizer.json texts.txt [--tokens 16] [--count 8]

Each line of the texts is cut to a prompt, and goes on with ONNX Runtime's token, whatever the plan says.
Where they differ, by how much ONNX Runtime prefers its own is told beside the plan's error, both in parts of
the logits' spread.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from tokenizers import Tokenizer

import ppc
from ppc.frontend.read.run import Runner
from ppc.runtime.plan.file import Outputs


class Floats:
    """The model itself, at every token of one text; and what the plan's error was there."""

    def __init__(self, runner: Runner, ids: list[int]) -> None:
        self._runner, self.ids, self.same, self.errors = runner, list(ids), list[bool](), list[float]()

    def __call__(self, outputs: Outputs) -> int:
        (told,) = outputs.values()
        count = len(self.ids)
        feeds = {"input_ids": [self.ids], "attention_mask": [[1] * count]}
        feeds["position_ids"] = [list(range(count))]
        (found,) = self._runner.run(feeds).values()
        wanted = found[0, -1].astype(np.float64)
        best, second = np.sort(wanted)[::-1][:2]
        self.errors.append(float(np.abs(told.ravel() - wanted).max() / wanted.std()))
        self.same.append(int(told.argmax()) == int(wanted.argmax()))
        if not self.same[-1]:
            print(
                f"  another: preferred by {(best - second) / wanted.std():.3f}, error {self.errors[-1]:.3f}"
            )
        self.ids.append(int(wanted.argmax()))
        return self.ids[-1]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    for name in ("plan", "model", "tokenizer", "texts"):
        parser.add_argument(name, type=Path)
    parser.add_argument("--tokens", type=int, default=16)
    parser.add_argument("--prompt", type=int, default=16)
    parser.add_argument("--count", type=int, default=8, help="texts, from the first on")
    given = parser.parse_args()
    plan = ppc.load_plan(given.plan)
    weights = ppc.load_weights(given.plan.with_suffix(".weights"), plan)
    tokenizer, runner = Tokenizer.from_file(str(given.tokenizer)), Runner(given.model, ["logits"])
    same, errors = list[bool](), list[float]()
    for text in given.texts.read_text().splitlines()[: given.count]:
        ids = tokenizer.encode(text).ids[: given.prompt]
        floats = Floats(runner, ids)
        for _ in ppc.simulate_generation(plan, weights, ids, given.tokens, pick=floats):
            pass
        print(f"{sum(floats.same)} of {len(floats.same)}  {tokenizer.decode(floats.ids[len(ids) :])!r}")
        same, errors = same + floats.same, errors + floats.errors
    usual, worst = np.median(errors), max(errors)
    print(f"{sum(same)} of {len(same)}; errors {usual:.3f} in the median, {worst:.3f} at worst")


if __name__ == "__main__":
    main()
