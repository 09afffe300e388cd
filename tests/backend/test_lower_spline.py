"""Splines in integers: the real spline to rounding, and comparisons that drop no bit too many."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from ppc.backend.lower_spline import MAX_DROP, integer_spline
from ppc.frontend.ir.spline import SplineSpec
from ppc.passes import functions
from ppc.runtime.base.ring import Fixed
from ppc.runtime.protocols.spline import spline_clear

NUM, QUAD, OUT = Fixed(42, 8), Fixed(42, 36), Fixed(16, 8)
FUNCTIONS = {
    "relu": functions.relu,
    "gelu": functions.gelu,
    "tanh": functions.tanh,
    "exp": functions.exp,
    "reciprocal": lambda: functions.reciprocal(1.0, 8.0),
}


def lowered(real: SplineSpec):
    return integer_spline(real, NUM, QUAD, 14, OUT)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_integers_are_the_spline_to_rounding(name):
    real = FUNCTIONS[name]()
    lo, hi = max(real.domain[0], -7.5), min(real.domain[1], 7.5)
    x = np.arange(int(lo * 256) + 1, int(hi * 256))
    got = spline_clear(x, NUM, lowered(real)) / 256
    assert np.abs(got - real.evaluate(x / 256)).max() <= 1.01 / 256


@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_late_comparison_costs_no_more_than_half_the_error_or_a_unit(name):
    real = FUNCTIONS[name]()
    spec = lowered(real)
    d, ts = spec.thresholds.drop, np.array(spec.thresholds.values)
    assert 0 <= d <= MAX_DROP
    assert not (ts % (1 << d)).any()
    allowed = max(real.max_error / 2, 1 / 256) + 1 / 256
    for t in ts:
        x = np.arange(t, t + (1 << d))
        later = replace(spec.thresholds, values=tuple(int(v) + (1 << d) for v in ts))
        moved = replace(spec, thresholds=later)
        assert np.abs(spline_clear(x, NUM, moved) - spline_clear(x, NUM, spec)).max() <= allowed * 256


def test_a_step_drops_nothing():
    step = SplineSpec((0.0,), ((0, 0, 0), (1, 0, 0)), (), (-8, 8), 0.0, "step")
    assert lowered(step).thresholds.drop == 0


def test_coefficients_wrap_into_their_ring():
    spec = lowered(functions.tanh())
    assert all(-(2**41) <= c < 2**41 for piece in spec.pieces for c in piece)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"knots": (0.0, 0.001), "pieces": ((0, 0, 0),) * 3, "gates": ()}, "fall together at scale 8"),
        ({"gates": ((0, 0.5),)}, "slope that is no integer"),
    ],
)
def test_what_integers_cannot_say_is_refused(change, message):
    with pytest.raises(ValueError, match=message):
        lowered(replace(functions.relu(), **change))


def test_nothing_is_dropped_of_two_bits():
    """The argument of a ReLU that calibration never saw leave 0."""
    assert integer_spline(functions.relu(), NUM, QUAD, 2, OUT).thresholds.drop == 0
