"""How far a run of training came, in a file: weights, and what AdamW remembers of each."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import save_file

SUFFIX = ".safetensors"


def keep(
    path: Path, weights: Sequence[torch.Tensor], optimiser: torch.optim.Optimizer, step: int, rate: float
) -> None:
    """Whole, or not at all."""
    tensors = {}
    for i, x in enumerate(weights):
        tensors[f"{i} weight"] = x.detach()
        tensors |= {f"{i} {name}": value for name, value in optimiser.state[x].items()}
    half = path.with_suffix(".part")
    save_file(tensors, half, {"step": str(step), "rate": repr(rate)})
    os.replace(half, path)


def restore(
    path: Path, weights: Sequence[torch.Tensor], optimiser: torch.optim.Optimizer
) -> tuple[int, float]:
    """The step and the rate in a file that `keep` wrote; ``weights`` and ``optimiser`` become as there."""
    with safe_open(path, "pt") as file, torch.no_grad():
        told = file.metadata()
        for key in file.keys():  # noqa: SIM118 - it is no mapping
            number, name = key.split(" ")
            x, value = weights[int(number)], file.get_tensor(key).to(weights[int(number)].device)
            if name == "weight":
                x.copy_(value)
            else:
                optimiser.state[x][name] = value
    return int(told["step"]), float(told["rate"])
