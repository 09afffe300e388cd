"""What a step means where nothing is rounded: a plan over the reals, with its own constants and splines.

Values are float64 in units of their format, whole numbers no longer, and there is no ring. What is left
between this and the model are the functions that stand for others and the integers that the plan has for
weights; what lies between this and the simulator is the rounding of every value on the way.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..base import exact
from ..base.exact import Factor
from ..base.one_hot import OneHotRows
from ..base.ring import Fixed
from ..protocols.spline import SplineSpec, centred
from .local import Local
from .steps import Encode, Guard, Linear, MatMul, Rescale, Spline, Step

Floats = NDArray[np.float64]
Units = Floats | NDArray[np.int64] | OneHotRows


@dataclass(frozen=True, eq=False, repr=False)
class Real:
    """A value (samples, *shape) in units of ``num``, in place of a `Plain`."""

    num: Fixed
    held: Units

    @property
    def data(self) -> Floats:
        return np.asarray(self.held, np.float64)


def unrounded(step: Step, x: Sequence[Real], weights: Sequence[Factor], local: Sequence[Local]) -> Units:
    """The value of a step, of operands as `Step.clear` has them: sums, layout and the like are the same."""
    found: Units
    match step:
        case Encode():
            found = _encoded(step, local[0])
        case Linear() if isinstance(x[0].held, OneHotRows):
            found = exact.matmul(x[0].held, weights[0])
        case Linear():
            found = np.matmul(x[0].data, weights[0].doubles)
        case MatMul():
            found = np.matmul(x[0].data, x[1].data)
        case Rescale():
            found = x[0].data * _times(x[0].num, step.num)
        case Spline():
            found = spline(x[0].data, x[0].num, step.spec)
        case Guard():
            found = np.zeros((max(len(each.data) for each in x), step.groups))
        case _:
            found = step.clear(*x, *weights, *local)
    return found


def spline(x: Floats, num: Fixed, spec: SplineSpec) -> Floats:
    """The piecewise quadratic with its gates, in units of ``spec.out``."""
    knots = np.array(spec.thresholds.values, np.float64)
    piece = np.searchsorted(knots, x, side="right")
    c0, c1, c2 = np.array(centred(spec), np.float64).T[:, piece]
    at = x - knots[np.maximum(piece - 1, 0)]
    y = (c0 + at * (c1 + at * c2)) * _times(spec.quad, spec.out)
    for index, slope in spec.gates:
        y += np.where(x >= knots[index], slope * x, 0.0) * _times(num, spec.out)
    return np.asarray(y)


def _encoded(step: Encode, local: Local) -> Units:
    if isinstance(local, OneHotRows):
        return step.clear(local)
    return np.stack([np.broadcast_to(each, step.shape) for each in local]) * 2.0**step.num.scale


def _times(old: Fixed, new: Fixed) -> float:
    return float(2.0 ** (new.scale - old.scale))
