"""Every place that reads a number says how far it went, and how far it may."""

from __future__ import annotations

import numpy as np
import pytest

from ppc.backend.lower_spline import integer_spline
from ppc.frontend.ir.spline import SplineSpec as Real
from ppc.passes import functions
from ppc.passes.calibrate import Range
from ppc.passes.quantise import quantise
from ppc.runtime.base.ring import Fixed
from ppc.runtime.plan import steps
from ppc.runtime.plan.reach import Reach, reliable
from ppc.runtime.protocols.compare import Thresholds
from ppc.runtime.protocols.spline import SplineSpec

F = Fixed(16, 4)


def plain(num: Fixed, *values: float) -> steps.Plain:
    """A sample for each value."""
    ints = np.rint(np.array(values) * 2.0**num.scale).astype(np.int64)
    return steps.Plain(num, ints[:, None])


def wraps(step: steps.Step, num: Fixed, *values: float) -> list[bool]:
    """By sample, whether any reading of it leaves what is held there."""
    given = plain(num, *values)
    if isinstance(step, steps.Maximum):  # beside a zero
        given = steps.Plain(num, np.concatenate([given.data, 0 * given.data], axis=1))
    found = [reading.far >= reading.limit for reading in step.reads_as_number(given)]
    return list(np.any(found, axis=0)) if found else [False] * len(values)


def integer(real: Real, lo: float, hi: float, num: Fixed, out: Fixed, width: int) -> steps.Spline:
    made = quantise(real, num.scale, Range(lo, hi, 1.0))
    quad = Fixed(58, 2 * num.scale + made.bits)
    return steps.Spline(x=0, spec=integer_spline(made.spline, num, quad, width, out), function=real.function)


@pytest.mark.parametrize(
    ("step", "most"),
    [
        (steps.Rescale(x=0, num=Fixed(24, 2)), 1024.0),
        (steps.Maximum(x=0), 2048.0),
        (steps.Maximum(x=0, argmax=True), 2048.0),
    ],
)
def test_a_value_may_go_up_to_its_limit_and_no_further(step, most):
    near = most - 2.0**-F.scale
    assert wraps(step, F, near, -near, most, -most, 3 * most) == [False, False, True, True, True]


def test_a_result_may_be_the_least_number_of_its_ring():
    assert wraps(steps.Output(x=0), F, 2047.0, -2048.0, 2048.0, -2049.0) == [False, False, True, True]


def test_what_costs_nothing_may_wrap():
    """A ring that shrinks with the scale is right modulo itself, whatever came in."""
    assert wraps(steps.Rescale(x=0, num=Fixed(12, 0)), F, 1e6) == [False]
    assert steps.Sum(x=0, axes=(0,)).reads_as_number(plain(F, 1e6)) == ()


def test_a_spline_holds_its_argument_beside_every_knot():
    step = integer(functions.sigmoid(), -30, 30, Fixed(44, 8), Fixed(30, 8), 15)
    limit = 2.0 ** (15 - 1 - 8)
    knots = step.spec.thresholds.values
    assert knots[0] < 0 < knots[-1]
    far = limit + knots[0] / 256
    assert wraps(step, Fixed(44, 8), far - 1, far + 1, -limit - 1) == [False, True, True]


def test_a_gate_is_read_as_a_number_too():
    step = integer(functions.relu(), -30, 30, Fixed(20, 10), Fixed(30, 8), 20)
    assert wraps(step, Fixed(20, 10), 2.0**7, 2.0**8) == [False, True]


@pytest.mark.parametrize(
    ("fitted", "function"),
    [
        (functions.rsqrt(1.0, 64.0), lambda x: 1 / np.sqrt(x)),
        (functions.reciprocal(1.0, 64.0), lambda x: 1 / x),
        (functions.sqrt(1.0, 64.0), np.sqrt),
    ],
)
def test_a_function_of_relative_error_ends_where_it_is_a_quarter_off(fitted, function):
    num = Fixed(40, 10)
    step = integer(fitted, 1.0, 64.0, num, Fixed(30, 14), 30)
    least, greatest = reliable(step.spec, num, fitted.function)
    assert least < 1.0
    assert greatest > 64.0
    held = [least * 1.01, 1.0, 8.0, 64.0, greatest * 0.99]
    assert not any(wraps(step, num, *held))
    assert wraps(step, num, 0.0, -5.0, least / 2, 2 * greatest) == [True] * 4
    for x in held:
        got = float(step.clear(plain(num, x))[0, 0]) * 2.0**-14
        assert abs(got - function(x)) < 0.3 * function(x)


def test_a_quadratic_leaves_its_ring_beyond_the_outer_knots():
    """x² in 20 bits of which 8 are a fraction: up to 2^10, a sign and a spare bit."""
    spec = SplineSpec(Thresholds((0,)), 30, Fixed(20, 8), ((0, 0, 0), (0, 0, 1)), (), Fixed(30, 4))
    assert wraps(steps.Spline(x=0, spec=spec), Fixed(30, 4), 31.0, 33.0, -500.0) == [False, True, False]


def test_what_a_reach_says():
    near, over = Reach(3, "v", "as a result", 3.0, 12.0), Reach(3, "v", "as a result", 30.0, 12.0)
    assert (near.wrapped, near.headroom, over.wrapped) == (False, 2.0, True)
    assert str(over) == "v reaches 30 as a result, 2.5 times the 12 held there"
    assert Reach(3, "v", "", float("nan"), 1.0).wrapped
