"""Parameter sets are secure, with the margin that they state."""

from pathlib import Path

import pytest
import seal

from ppc.runtime.he.params import (
    DEEP_SETS,
    DEEPEST,
    MOST_BITS,
    MOST_LEVELS,
    PACKING_SETS,
    PARAMETER_SETS,
    SECURITY,
    HeParams,
    context,
    reading_primes,
)

SETS = (*PARAMETER_SETS, *PACKING_SETS, *DEEP_SETS)


@pytest.mark.parametrize("params", SETS, ids=str)
def test_every_set_is_secure_by_both_tables(params):
    assert seal.sec_level_type.tc128 == SECURITY
    made = context(params)
    assert made.parameters_set()
    assert [p.bit_length() for p in params.all_primes] == list(params.chain)
    assert len(set(params.all_primes)) == len(params.chain)
    total = sum(params.chain)
    assert total <= seal.CoeffModulus.MaxBitCount(params.degree, SECURITY) - 1
    assert params.margin == MOST_BITS[params.degree] - total >= 2


def test_the_threat_model_states_every_margin():
    text = (Path(__file__).parents[3] / "docs/threat-model.md").read_text()
    for params in SETS:
        q, special = " + ".join(map(str, params.data_bits)), params.special_bits or "–"
        assert f"| {params.degree} | {q} | {special} | {sum(params.chain)} | {params.margin} |" in text


def test_the_table_is_stricter_than_seals_own():
    assert MOST_BITS == {2048: 53, 4096: 106, 8192: 214}  # eprint 2024/463, classical, ternary secrets
    for degree, bits in MOST_BITS.items():
        assert bits < seal.CoeffModulus.MaxBitCount(degree, SECURITY)


@pytest.mark.parametrize(
    "params",
    [
        HeParams(4096, (48, 48, 11 + 24)),
        HeParams(4096, (36, 35), 36, 1),
        HeParams(2048, (27, 27)),
        HeParams(1024, (25,)),
        HeParams(8192, (45,) * 4, 45, 1),
    ],
    ids=str,
)
def test_an_insecure_set_is_refused(params):
    with pytest.raises(ValueError, match="security"):
        _ = params.primes


@pytest.mark.parametrize("bits", [(60, 30), (20, 40), (30,) * 5, ()], ids=str)
def test_primes_that_the_kernels_cannot_take_are_refused(bits):
    with pytest.raises(ValueError, match="24 to 48 bits"):
        _ = HeParams(8192, bits).primes


def test_a_special_prime_comes_with_switching_keys():
    with pytest.raises(ValueError, match="13 levels"):
        HeParams(4096, (47,), 47, 13)
    for special, levels in ((0, 4), (40, 0)):
        with pytest.raises(ValueError, match="switching keys"):
            HeParams(4096, (40,), special, levels)
    packing = HeParams(4096, (41, 38)).packing(3)
    assert (packing.chain, packing.pack_keys) == ((41, 38, 41), 6)
    assert packing.packing(0) == HeParams(4096, (41, 38))
    for levels, sets in ((MOST_LEVELS, PACKING_SETS), (DEEPEST, DEEP_SETS)):
        assert all(params.pack_levels == levels for params in sets)


def test_moduli_of_one_prime_divide_evenly_among_plaintexts():
    """q = 1 modulo a high power of two: all but one value of y have their plaintext."""
    for params in PARAMETER_SETS:
        if len(params.data_bits) == 1:
            assert params.q % 2**36 == 1


@pytest.mark.parametrize(("bits", "count"), [(20, 1), (33, 1), (36, 2), (53, 2)])
def test_answers_are_read_modulo_enough(bits, count):
    primes = reading_primes(8192, bits)
    assert len(primes) == count
    product = primes[0] * (primes[1] if count == 2 else 1)
    assert product > 8192 * 2**bits
