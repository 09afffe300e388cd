"""Parameter sets are secure, and the noise bound has the shape that it claims."""

from math import log2

import pytest
import seal

from ppc.runtime.he.params import (
    PARAMETER_SETS,
    SECURITY,
    HeParams,
    answer_bits,
    bits_above,
    context,
    noise_bound,
    tail,
)


@pytest.mark.parametrize("params", PARAMETER_SETS, ids=str)
def test_every_set_passes_seals_check(params):
    assert seal.sec_level_type.tc128 == SECURITY
    made = context(params)
    assert made.parameters_set()
    assert params.log_q == pytest.approx(sum(params.data_bits), abs=0.01)
    assert len(params.primes) == len(params.data_bits)
    assert sum(params.chain) <= seal.CoeffModulus.MaxBitCount(params.degree, SECURITY)


@pytest.mark.parametrize(
    "params",
    [
        HeParams(4096, (48, 48), 17),
        HeParams(4096, (40, 40, 40)),
        HeParams(2048, (36, 36)),
        HeParams(8192, (45,) * 5),
    ],
    ids=str,
)
def test_an_insecure_set_is_refused(params):
    with pytest.raises(ValueError, match="security"):
        _ = params.primes


@pytest.mark.parametrize("bits", [(60, 30), (36,), (20, 40)])
def test_primes_that_the_kernels_cannot_take_are_refused(bits):
    with pytest.raises(ValueError, match="30 to 48 bits"):
        _ = HeParams(4096, bits, 16).primes


def test_packing_levels_have_a_bound():
    with pytest.raises(ValueError, match="13 levels"):
        HeParams(4096, (47, 46), 16, 13)


def test_the_bound_grows_with_what_it_should():
    params = PARAMETER_SETS[3]
    base = noise_bound(params, 30, 2.0**15, 384, 1000)
    assert noise_bound(params, 30, 2.0**16, 384, 1000) == pytest.approx(2 * base, rel=0.01)
    assert noise_bound(params, 30, 2.0**15, 384, 10**6) > base
    assert base > tail(1000) * 3.24 * 2**15
    # weights of norm 0 still leave the noise of the fresh encryption of zero
    assert noise_bound(params, 30, 0.0, 384, 1000) > 21 * params.degree**0.5


def test_the_answers_modulus_leaves_room_for_rounding():
    params = PARAMETER_SETS[3]
    noise = bits_above(noise_bound(params, 28, 2.0**13, 384, 36864))
    sizes = answer_bits(params, 28, noise, noise + 40, 36864)
    assert sizes is not None
    bits, c0 = sizes
    rounding = 0.5 * tail(36864) * 64
    flooded = (2.0**noise + 2.0 ** (noise + 40)) * 2.0 ** (bits - params.log_q)
    assert flooded + 0.51 * 2.0 ** (bits - c0) + rounding < 2.0 ** (bits - 29)
    # one bit less of either would not do
    assert flooded / 2 + 1.02 * rounding >= 2.0 ** (bits - 30)
    assert flooded + 0.51 * 2.0 ** (bits - c0 + 1) + 1.02 * rounding >= 2.0 ** (bits - 29)


def test_no_room_means_no_modulus():
    params = PARAMETER_SETS[3]
    limit = int(params.log_q - 28 - 1)
    assert answer_bits(params, 28, 10, limit + 1, 1000) is None
    assert answer_bits(params, 28, 10, limit, 1000) is not None
    assert answer_bits(params, 50, 10, 20, 1000) is None  # the rounding alone would need 2^61


def test_bits_above_is_a_ceiling():
    assert [bits_above(x) for x in (1.0, 2.0, 2.1, 1024.0, 1025.0)] == [1, 1, 2, 10, 11]
    assert log2(1025) < bits_above(1025)
