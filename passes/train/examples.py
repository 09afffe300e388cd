"""What is trained on: inputs of many prompts, stacked, and their labels where there are any."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from ppc.runtime.base.classes import NONE

Array = NDArray[Any]


@dataclass(frozen=True, repr=False)
class Examples:
    """``feeds``: of each input the samples on a first axis. ``labels``: a class for each sample, or one for
    each of its tokens, `NONE` where there is none. ``tokens``: how many each has, the rest being padding;
    where that is not known the input that is called a mask tells."""

    feeds: Mapping[str, Array]
    labels: Array | None = None
    tokens: Array | None = None

    @staticmethod
    def of(
        samples: Sequence[Mapping[str, Array]],
        labels: Sequence[int] | Array | None = None,
        tokens: Sequence[int] | Array | None = None,
    ) -> Examples:
        """Of one set of inputs for each sample, at least one."""
        feeds = {name: np.stack([np.asarray(each[name]) for each in samples]) for name in samples[0]}
        return Examples(feeds, _whole(labels), _whole(tokens))

    @property
    def mask(self) -> Array | None:
        """Which tokens count, (samples, prompts, tokens); None where nothing says so."""
        rows = {name: x for name, x in self.feeds.items() if x.ndim == 3}
        if self.tokens is not None and rows:
            (*shape, length) = next(iter(rows.values())).shape
            return np.broadcast_to(np.arange(length) < self.tokens[:, None, None], (*shape, length))
        return next((x != 0 for name, x in rows.items() if "mask" in name.lower()), None)

    def __len__(self) -> int:
        return len(next(iter(self.feeds.values())))

    def at(self, places: Array) -> Examples:
        """The samples of these places."""
        labels, tokens = (None if x is None else x[places] for x in (self.labels, self.tokens))
        return Examples({name: value[places] for name, value in self.feeds.items()}, labels, tokens)

    def cut(self, length: int, shapes: Mapping[str, tuple[int, ...]]) -> Examples:
        """The first ``length`` tokens, which are all: inputs of ``shapes``, the rest having been padding."""
        feeds = {name: x[(slice(None), *(slice(n) for n in shapes[name]))] for name, x in self.feeds.items()}
        labels = self.labels
        return Examples(
            feeds, labels if labels is None or labels.ndim == 1 else labels[:, :length], self.tokens
        )

    def with_unlabelled(self, more: Examples) -> Examples:
        """Both, one behind the other; the second have no labels."""
        feeds = {name: np.concatenate([x, more.feeds[name]]) for name, x in self.feeds.items()}
        tokens = None
        if self.tokens is not None and more.tokens is not None:
            tokens = np.concatenate([self.tokens, more.tokens])
        if self.labels is None:
            return Examples(feeds, None, tokens)
        none = np.full((len(more), *self.labels.shape[1:]), NONE)
        return Examples(feeds, np.concatenate([self.labels, none]), tokens)

    @property
    def labelled(self) -> Examples:
        """Those that have a label, or one for some token."""
        if self.labels is None:
            return self
        known = (self.labels.reshape(len(self), -1) != NONE).any(axis=1)
        return self if known.all() else self.at(np.flatnonzero(known))

    def split(self, count: int, seed: int) -> tuple[Examples, Examples]:
        """``count`` samples chosen by ``seed``, and the others."""
        order = np.random.default_rng(seed).permutation(len(self))
        return self.at(np.sort(order[:count])), self.at(np.sort(order[count:]))

    def on(self, device: torch.device) -> Batch:
        labels, mask = (
            None if x is None else torch.tensor(x, device=device) for x in (self.labels, self.mask)
        )
        feeds = {name: torch.as_tensor(x, device=device) for name, x in self.feeds.items()}
        return Batch(feeds, labels, mask)


@dataclass(frozen=True, repr=False)
class Batch:
    """Samples as tensors; ``mask`` has which tokens count."""

    feeds: Mapping[str, torch.Tensor]
    labels: torch.Tensor | None
    mask: torch.Tensor | None


def _whole(x: Sequence[int] | Array | None) -> Array | None:
    return None if x is None else np.asarray(x, np.int64)


_ALIKE = 16
"""Batches among which texts of like length are put together."""


def places(count: int, batch: int, step: int, seed: int, tokens: Array | None = None) -> Array:
    """Which of ``count`` samples are the ``step``-th batch of an endless row of shuffled epochs.

    With ``tokens``, how many each has, those of sixteen batches are sorted by it, and the batches shuffled:
    they hold little padding then. They depend on nothing else, so that a run that goes on later meets the
    same ones.
    """
    if tokens is None:
        return _row(count, step * batch, batch, seed)
    block, place = divmod(step, _ALIKE)
    row = _row(count, block * _ALIKE * batch, _ALIKE * batch, seed)
    batches = row[np.argsort(tokens[row], kind="stable")].reshape(_ALIKE, batch)
    return np.asarray(batches[np.random.default_rng((seed, block, 1)).permutation(_ALIKE)[place]])


def _row(count: int, start: int, length: int, seed: int) -> Array:
    wanted = np.arange(start, start + length)
    orders = {
        int(epoch): np.random.default_rng((seed, int(epoch))).permutation(count)
        for epoch in np.unique(wanted // count)
    }
    return np.array([orders[int(i // count)][i % count] for i in wanted])
