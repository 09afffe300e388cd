import numpy as np
import pytest

from ppc.passes import functions
from ppc.passes.calibrate import Range
from ppc.passes.quantise import quantise
from ppc.passes.spline_fit import error
from ppc.runtime.base.function import Gelu

GELU = functions.exact(Gelu("none"))

SPLINES = {
    "gelu": (lambda: functions.gelu(), lambda x: GELU(-x), 9, Range(0.0, 11.0, 1.0), False),
    "exp": (lambda: functions.exp(), np.exp, 9, Range(-40.0, 0.25, 1.0), False),
    "reciprocal": (lambda: functions.reciprocal(1.0, 40.0), lambda x: 1 / x, 10, Range(1.0, 40.0, 1.0), True),
    "rsqrt": (lambda: functions.rsqrt(30.0, 9000.0), lambda x: x**-0.5, 6, Range(30.0, 9000.0, 1.0), True),
}


@pytest.mark.parametrize("name", SPLINES)
def test_rounding_adds_less_than_half_the_error(name):
    fit, f, scale, x, relative = SPLINES[name]
    spline = fit()
    done = quantise(spline, scale, x)
    assert error(done.spline, f, x.lo, x.hi, relative=relative) <= 1.5 * spline.max_error


@pytest.mark.parametrize("name", SPLINES)
def test_coefficients_and_knots_are_whole_numbers_of_their_units(name):
    fit, _, scale, x, _ = SPLINES[name]
    spline = fit()
    done = quantise(spline, scale, x)
    for piece in done.spline.pieces:
        for i, c in enumerate(piece):
            assert float(c * 2.0 ** (done.bits + (2 - i) * scale)).is_integer()
    assert all(float(k * 2.0**scale).is_integer() for k in done.spline.knots)


@pytest.mark.parametrize("name", ["gelu", "exp"])
def test_lines_take_over_what_rounding_squares_loses(name):
    """Rounding all three coefficients apart to the same bits would cost far more."""
    fit, f, scale, x, _ = SPLINES[name]
    spline = fit()
    done = quantise(spline, scale, x)
    plain = tuple(
        (c0, c1, np.floor(c2 * 2.0**done.bits + 0.5) * 2.0**-done.bits) for c0, c1, c2 in spline.pieces
    )
    worse = type(spline)(spline.knots, plain, spline.gates, spline.domain, 0.0, "")
    assert error(worse, f, x.lo, x.hi) > 2 * error(done.spline, f, x.lo, x.hi)


def test_few_bits_suffice():
    assert quantise(SPLINES["gelu"][0](), 9, SPLINES["gelu"][3]).bits <= 12
    assert quantise(SPLINES["exp"][0](), 9, SPLINES["exp"][3]).bits <= 12


def test_values_leave_gates_out():
    x = Range(-20.0, 30.0, 1.0)
    assert quantise(functions.clip(-1.0, 2.5), 8, x).values(x) == (-1.0, 2.5)


def test_coefficients_for_large_arguments_are_small():
    """The sum of squares of a row with one channel of thousands: c₂ goes with x^-2.5."""
    spline, x = functions.rsqrt(129_096.0, 1.02291e7), Range(129_096.0, 1.02291e7, 2e5)
    done = quantise(spline, -6, x)
    assert done.bits > 60
    assert error(done.spline, lambda x: x**-0.5, x.lo, x.hi, relative=True) <= 1.5 * spline.max_error
    with pytest.raises(ValueError, match="no 60 bits hold its coefficients"):
        quantise(spline, 0, x)


@pytest.mark.long
def test_what_cannot_be_held_is_refused():
    spline = functions.rsqrt(1e9, 1e13)
    with pytest.raises(ValueError, match="no 60 bits"):
        quantise(spline, 0, Range(1e9, 1e13, 1e10))


def test_large_arguments_are_kept_at_a_negative_scale():
    """A sum of squares of a trained decoder: c₂ needs more than 60 bits, of which x brings its own."""
    lo, hi = 129_096.0, 1.02e7
    spline = functions.rsqrt(lo, hi)
    done = quantise(spline, -5, Range(lo, hi, lo))
    assert done.bits > 60
    assert error(done.spline, lambda x: 1 / np.sqrt(x), lo, hi, relative=True) < 1.5 * spline.max_error
