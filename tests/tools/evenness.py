"""Whether numbers look uniform, and new in every run: p-values of chi-square tests."""

from __future__ import annotations

import numpy as np
import scipy

SURE = 1e-12
"""Below it a test fails; one in many millions of correct runs would."""


def evenness(x: np.ndarray, bits: int) -> dict[str, float]:
    """p-values of elements (runs, places) of ``bits`` bits being uniform, and independent from run to run.

    With equal inputs a message without a mask, or with one mask for all runs, repeats itself at its place;
    one whose neighbouring elements share a mask repeats their difference.
    """
    split = _bits(x, bits)
    ones = split.sum(axis=(0, 1), dtype=np.int64)
    found = {"each bit": float(scipy.stats.chi2.sf(float(((2 * ones - x.size) ** 2 / x.size).sum()), bits))}
    wide = min(4, bits)
    for name, part in (("low bits", x), ("high bits", x >> np.uint64(bits - wide))):
        counts = np.bincount((part & np.uint64((1 << wide) - 1)).ravel().astype(int), minlength=1 << wide)
        found[name] = float(scipy.stats.chisquare(counts).pvalue)
    found["each place over the runs"] = _steady(split)
    if x.shape[1] > 1:
        xor, minus = x[:, 1:] ^ x[:, :-1], x[:, 1:] - x[:, :-1]
        found["neighbours"] = _balanced(_bits(xor, bits))
        found["neighbours over the runs"] = _steady(_bits(xor, bits))
        found["differences over the runs"] = _steady(_bits(minus, bits))
    return found


def uneven(x: np.ndarray, bits: int) -> dict[str, float]:
    """The tests that fail."""
    return {name: p for name, p in evenness(x, bits).items() if not p > SURE}


def _bits(x: np.ndarray, bits: int) -> np.ndarray:
    return ((x[..., None] >> np.arange(bits, dtype=np.uint64)) & np.uint64(1)).astype(np.uint8)


def _steady(split: np.ndarray) -> float:
    """Bits at one place, over the runs: as often 1 as 0."""
    runs, ones = len(split), split.sum(axis=0, dtype=np.int64)
    return float(scipy.stats.chi2.sf(float(((2 * ones - runs) ** 2 / runs).sum()), ones.size))


def _balanced(split: np.ndarray) -> float:
    ones = int(split.sum(dtype=np.int64))
    return float(scipy.stats.chi2.sf((2 * ones - split.size) ** 2 / split.size, 1))
