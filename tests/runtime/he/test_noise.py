"""The bound on the error has the shape that it claims."""

from math import exp, sqrt

import pytest

from ppc.runtime.he.noise import (
    FAILURE_BITS,
    Meeting,
    answer_bits,
    error_bound,
    most_drop,
    noise_bound,
    packing_noise,
    room,
    tail,
    units,
)
from ppc.runtime.he.params import HeParams

ONE = HeParams(4096, (48,))
RESULTS = 36864
MEETING = Meeting(2.0**15, 384, RESULTS)


def test_the_bound_grows_with_what_it_should():
    base = noise_bound(ONE, 30, MEETING)
    assert noise_bound(ONE, 30, Meeting(2.0**16, 384, RESULTS)) == pytest.approx(2 * base, rel=0.01)
    assert noise_bound(ONE, 30, Meeting(2.0**15, 384, 10**6)) > base
    assert base > tail(RESULTS) * 3.24 * 2**15
    # weights of norm 0 still leave the noise of the fresh encryption of zero
    assert noise_bound(ONE, 30, Meeting(0.0, 384, RESULTS)) > 21 * ONE.degree**0.5


def test_the_tail_bounds_all_results_together():
    chance = 2 * RESULTS * exp(-(tail(RESULTS) ** 2) / 2)
    assert chance == pytest.approx(2.0**-FAILURE_BITS)


@pytest.mark.parametrize("drop", range(1, 20))
def test_as_many_bits_are_dropped_as_fit(drop):
    most = noise_bound(ONE, 30, MEETING, drop)
    assert most_drop(ONE, 30, MEETING, most * 1.0001) == drop
    assert most_drop(ONE, 30, MEETING, most * 0.9999) == drop - 1


def test_nothing_is_dropped_where_there_is_no_room():
    assert most_drop(ONE, 30, MEETING, noise_bound(ONE, 30, MEETING)) == 0
    assert most_drop(ONE, 30, MEETING, 0.0) == 0
    assert most_drop(ONE, 30, Meeting(0.0, 384, RESULTS), 1.0) == 40


def test_packing_adds_a_key_switch_a_level():
    packing = ONE.packing(5)
    assert packing_noise(packing, 1, RESULTS) == 0
    once = packing_noise(packing, 2, RESULTS)
    assert packing_noise(packing, 32, RESULTS) == pytest.approx(31 * once)
    sigmas = tail(RESULTS * 64)
    rounding = 0.5 + sigmas * 64 / 12**0.5
    switching = sigmas * sqrt(10.5 * 4096) * 2.0**47 / packing.all_primes[-1]
    assert once == pytest.approx(rounding + switching)


@pytest.mark.parametrize("kept", [0.01, 1.0])
@pytest.mark.parametrize("spare", [1, 2, 8, 12])
def test_an_answer_has_no_bit_too_many_or_too_few(spare, kept):
    noise = noise_bound(ONE, 28, Meeting(2.0**13, 384, RESULTS))
    left = room(spare) - units(ONE, 28, noise)
    sizes = answer_bits(ONE, 28, left, RESULTS, kept)
    assert sizes is not None
    fits = [
        (b, r)
        for b in range(1, 54)
        for r in range(1, b + 1)
        if error_bound(ONE, 28, noise, (b, r), RESULTS) <= 2.0**spare
    ]
    assert sizes in fits
    assert sizes[0] + kept * sizes[1] == min(b + kept * r for b, r in fits)


def test_no_room_means_no_modulus():
    assert answer_bits(ONE, 28, 0.0, 1000, 1.0) is None
    assert answer_bits(ONE, 28, -1.0, 1000, 1.0) is None
    assert answer_bits(ONE, 28, 0.5, 1000, 1.0) is not None
    assert answer_bits(ONE, 48, 0.5, 1000, 1.0) is None  # the rounding alone would need 2^57
