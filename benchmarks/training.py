"""A step of training MiniLM-L6 as the IR in PyTorch, with products of bfloat16 too, beside PyTorch's own
encoder of the same size.

    python benchmarks/training.py [--tokens 32] [--batch 32] [--steps 5]

Wants PyTorch (the extra `tune`) and the package of `models/minilm.py`.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch

sys.path.append(str(Path(__file__).parent.parent / "models"))

from minilm import SHAPE, minilm_l6

from ppc import passes
from ppc.frontend.read.load import load
from ppc.passes.train.trainable import Trainable


def seconds(forward: Callable[[], torch.Tensor]) -> float:
    """One step, forwards and back."""
    begun = time.perf_counter()
    (forward() ** 2).sum().backward()
    return time.perf_counter() - begun


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--tokens", type=int, default=32)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--steps", type=int, default=5)
    args = parser.parse_args()
    graph = passes.run(load(minilm_l6(), seq_len=args.tokens), stop_after="fold_scale").graph
    model, wanted = Trainable(graph), list(graph.outputs.values())
    shape = (args.batch, 1, args.tokens)
    feeds = {each.name: torch.zeros(shape, dtype=torch.int64) for each in graph.inputs}
    feeds["input_ids"] = torch.randint(SHAPE.vocabulary, shape)
    feeds["attention_mask"] = torch.ones(shape, dtype=torch.int64)
    table = torch.nn.Embedding(SHAPE.vocabulary, SHAPE.width).requires_grad_(False)
    layer = torch.nn.TransformerEncoderLayer(
        SHAPE.width, SHAPE.heads, 4 * SHAPE.width, dropout=0.0, activation="gelu", batch_first=True
    )
    encoder = torch.nn.TransformerEncoder(layer, SHAPE.layers)

    def by_pytorch() -> torch.Tensor:
        found: torch.Tensor = encoder(table(feeds["input_ids"][:, 0]))
        return found.mean(dim=1)

    def in_half() -> torch.Tensor:
        with torch.autocast("cpu", torch.bfloat16):
            return model(feeds, wanted)[0]

    # one after the other, and the least of each: others use the machine as well
    ways = (lambda: model(feeds, wanted)[0], in_half, by_pytorch)
    ours, half, theirs = (
        min(each) for each in zip(*([seconds(way) for way in ways] for _ in range(args.steps)), strict=True)
    )
    print(
        f"the IR {ours:.3f} s, in bfloat16 {half:.3f} s, PyTorch's encoder {theirs:.3f} s: "
        f"{ours / theirs:.2f} and {half / theirs:.2f} times"
    )


if __name__ == "__main__":
    main()
