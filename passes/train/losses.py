"""How far two values are apart, of the rows that count: those of tokens, and not those of padding."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch.nn import functional

from ppc.passes.eliminate import stride
from ppc.runtime.base.classes import NONE

_LEAST = 1e-6
"""A variance below is that of a value that does not change."""


def counted(x: torch.Tensor, mask: torch.Tensor | None) -> torch.Tensor:
    """The rows of ``x``, (samples, prompts, …, width), that are of tokens that count, or of whole prompts:
    (rows, width). Of fewer rows than there are tokens each is one of so many (`passes/eliminate.py`)."""
    if mask is not None and x.ndim >= 4:
        mask = mask[..., :: stride(mask.shape[-1], x.shape[-2])]
    if mask is None or x.ndim < 4 or x.shape[-2] != mask.shape[-1]:
        return x.reshape(-1, x.shape[-1])
    between = (1,) * (x.ndim - 4)
    wide = mask.reshape(*mask.shape[:2], *between, mask.shape[-1]).expand(x.shape[:-1])
    return x[wide]


def left(y: torch.Tensor, shape: Sequence[int]) -> torch.Tensor:
    """``y`` at the tokens that are left of it in a value of ``shape``."""
    return y[tuple(slice(None, None, stride(n, m)) for n, m in zip(y.shape, shape, strict=True))]


def relative(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """Mean square of x − y, in units of y's variance about each column's mean."""
    return torch.mean((x - y) ** 2) / torch.mean((y - y.mean(dim=0)) ** 2).clamp_min(_LEAST)


def soft_labels(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """KL(softmax y ‖ softmax x) a row, of logits; of one column, of its logistic function."""
    if x.shape[-1] == 1:
        x, y = functional.pad(x, (0, 1)), functional.pad(y, (0, 1))
    wanted, found = torch.log_softmax(y, dim=-1), torch.log_softmax(x, dim=-1)
    return functional.kl_div(found, wanted, log_target=True, reduction="batchmean")


def directions(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """1 − cos of the angle between rows."""
    return 1 - functional.cosine_similarity(x, y, dim=-1).mean()


def hard_labels(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Cross-entropy of (samples, prompts, …, classes) with the labels of samples or of their tokens."""
    rows, wanted = logits.reshape(-1, logits.shape[-1]), labels.reshape(-1)
    if not bool((wanted != NONE).any()):
        return rows.sum() * 0
    if rows.shape[-1] == 1:
        kept = wanted != NONE
        return functional.binary_cross_entropy_with_logits(rows[kept, 0], wanted[kept].to(rows.dtype))
    return functional.cross_entropy(rows, wanted, ignore_index=NONE)


def beyond(x: torch.Tensor, limit: float) -> torch.Tensor:
    """Mean square of how far x is outside ±limit, in units of it."""
    return torch.mean(torch.relu(x.abs() / limit - 1) ** 2)
