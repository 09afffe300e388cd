"""The guard of a plan: how far each watched value may go, in its own units."""

from __future__ import annotations

import math

import numpy as np

from ppc.passes.octaves import OCTAVES
from ppc.runtime.base.ring import Fixed
from ppc.runtime.plan import reach, steps

FINE = 4
"""Bits of a limit that a comparison keeps."""


def watch_argument(value: int, num: Fixed, spline: steps.Spline, held: float) -> steps.Guarded:
    """Of a spline: as far as all that reads its argument as a number is right, up to ``held``."""
    knots = spline.spec.thresholds.values
    low, high = (_last(knot, sign, num, spline) for knot, sign in ((knots[0], -1), (knots[-1], 1)))
    high = min(high, math.ceil(held * 2.0**num.scale))
    drop = max(0, min(low.bit_length(), high.bit_length()) - FINE)
    unit = 1 << drop
    # a comparison without its low bits may find what lies just above a limit below it
    return steps.Guarded(value, (low >> drop) * unit - (unit if drop else 0), -(-high // unit) * unit, drop)


def _last(knot: int, sign: int, num: Fixed, spline: steps.Spline) -> int:
    """The last argument from an outer knot outwards that is read rightly."""
    # octaves of √x have one beyond each outer knot, and that is twice as wide
    octaves = 2 if spline.function == OCTAVES else reach.OCTAVES
    exponents = sign * np.arange(octaves * reach.STEPS_AN_OCTAVE) / reach.STEPS_AN_OCTAVE
    x = np.unique(np.maximum(1, np.floor(knot * 2.0**exponents))).astype(np.int64)[::sign]
    held = np.ones(len(x), bool)
    for each in reach.through(x[:, None], num, spline.spec, spline.function):
        held &= each.far < each.limit
    return int(x[max(0, int(np.argmin(held)) - 1)] if not held.all() else x[-1])


def watch_maximum(value: int, num: Fixed, held: float) -> steps.Guarded:
    """Of a maximum: that it is no larger than ``held``."""
    high = math.ceil(held * 2.0**num.scale) + 1
    drop = max(0, abs(high).bit_length() - FINE - 1)
    return steps.Guarded(value, None, -(-high >> drop) << drop, drop)
