"""The public description of a product: what it refuses, counts and predicts."""

import dataclasses

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ppc.runtime.cost.rates import he_seconds
from ppc.runtime.he.packing import Tile
from ppc.runtime.he.params import HeParams
from ppc.runtime.he.product import (
    MEMORY_BYTES,
    Product,
    answer_bytes,
    answer_parts,
    parameter_sets,
    public_key_bytes,
    uniform_norm_bits,
    upload_bytes,
    upload_parts,
)
from ppc.runtime.he.tiling import plan_product

LAYER = plan_product(1, 32, 384, 1152, 30, he_seconds, spare=12, norm_bits=14)
ONE, TWO = HeParams(4096, (48,)), HeParams(4096, (48, 47))


@pytest.mark.parametrize("ell", [8, 16, 24, 32, 37, 40, 42])
def test_masks_of_any_ring_in_use_fit(ell):
    product = plan_product(12, 32, 32, 32, ell, he_seconds, spare=3)
    assert 0 <= product.error_bits <= 3
    assert product.redrawn < 1 / 8
    assert product.norm_bits == uniform_norm_bits(ell, 32)


def test_what_does_not_fit_is_refused_with_numbers():
    with pytest.raises(ValueError, match=r"errors of 2\^[\d.]+ units .* where 2\^1 units are harmless"):
        plan_product(1, 8, 64, 8, 40, he_seconds, norm_bits=64, params=(ONE,))
    with pytest.raises(ValueError, match="2\\^48"):
        plan_product(1, 8, 8, 8, 49, he_seconds)
    with pytest.raises(ValueError, match="empty axis"):
        plan_product(1, 8, 0, 8, 20, he_seconds, norm_bits=10)


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"norm_bits": 34}, "harmless"),
        ({"spare": 0}, "spare must be"),
        ({"spare": 30}, "spare must be"),
        ({"tile": Tile(32, 32, 16)}, "does not fit"),
        ({"params": HeParams(4096, (48, 48), 48, 7)}, "security"),
        ({"params": HeParams(4096, (28, 27)), "fill": 1, "norm_bits": 40}, "harmless"),
        ({"k": 1 << 20}, "ciphertexts and sums"),
        ({"norm_bits": 65}, "norm_bits"),
        ({"batch": 0}, "empty axis"),
        ({"ell": 47, "spare": 40, "params": ONE, "fill": 1}, "drawn again"),
    ],
)
def test_a_product_that_is_not_safe_cannot_be_made(change, match):
    with pytest.raises(ValueError, match=match):
        dataclasses.replace(LAYER, **change)


def test_less_room_for_errors_takes_a_larger_answer():
    sizes = [dataclasses.replace(LAYER, spare=spare) for spare in (4, 8, 12)]
    assert sizes[0].answer_bits > sizes[1].answer_bits > sizes[2].answer_bits
    assert all(product.error_bits <= product.spare for product in sizes)


@pytest.mark.long
@settings(max_examples=30, deadline=None)
@given(
    st.integers(1, 3),
    st.integers(1, 200),
    st.integers(1, 300),
    st.integers(1, 300),
    st.sampled_from([12, 26, 33]),
)
def test_sizes_are_the_sums_of_their_parts(batch, m, k, n, ell):
    product = plan_product(batch, m, k, n, ell, he_seconds)
    assert sum(upload_parts(product)) == upload_bytes(product)
    assert sum(answer_parts(product)) == answer_bytes(product)
    units = [sum(product.unit_sizes(unit)) for unit in range(product.units)]
    assert sum(units) * batch == answer_bytes(product)
    assert product.memory_bytes <= MEMORY_BYTES


def test_sizes_by_hand():
    product = Product(2, 3, 5, 7, 20, 12, 2, Tile(3, 5, 7), TWO)
    b = product.answer_bits
    plain, empty = product.said_bits
    assert plain == 95 - 20 - product.drop
    assert empty == 95 - product.drop
    assert 64 - 20 < empty <= 64
    assert upload_bytes(product) == 2 * (16 + (15 * plain + 7) // 8 + -(-4081 * empty // 8))
    # c1 whole, c0 only where one of the 21 results stands
    assert answer_bytes(product) == 2 * (4096 * b // 8 + (21 * product.result_bits + 7) // 8)
    assert public_key_bytes(product.params) == 4096 * 95 // 8
    assert (product.upload_ciphertexts, product.plain_tiles, product.answer_ciphertexts) == (2, 2, 2)
    assert product.macs == 2 * 8 * 4096 * 2 * 2


def test_work_by_hand():
    alone = Product(2, 6, 10, 70, 20, 12, 2, Tile(3, 5, 7), TWO)
    coefficients = 4096 * 2
    assert alone.work == {
        "upload": {"encrypt": 8 * coefficients},
        "answer": {
            "expand": 8 * coefficients,
            "arrange": 2 * 8 * 2 * coefficients,  # 10 tiles across are two units
            "weight": 2 * 10 * 70,
            "butterfly": 2 * 2 * 16 * 6 * 4096 // 2 * 2,  # blocks of 64 have six stages
            "he_mac": 8 * 16 * 2 * coefficients,
            "collect": 2 * 2 * 16 * 2 * coefficients,
            "key_switch": 0,
            "rerandomise": 2 * (16 + 8) * 2 * coefficients,  # two rows of tiles of 8 and of 2
            "switch_down": 2 * 2 * 10 * coefficients,
        },
        "finish": {"decrypt": 2 * (16 + 8) * 4096, "result": 2 * 6 * 70},
    }


def test_switched_keys_by_hand():
    """Eight rows of tiles with 16 answers each: 64, 32, 16 and 8 at a time; of one row 8, then 4, 2 and 1."""
    params = HeParams(4096, (35, 34)).packing(4)
    packed = Product(1, 32, 16, 32, 24, 12, 2, Tile(4, 16, 2), params, 16)
    once = 9 * 4096  # a prime more than the two of q, squared
    assert packed.work["answer"]["key_switch"] == (64 + 32 + 16 + 8) * once
    assert packed.work["answer"]["switch_down"] == 8 * 2 * 4096
    one = dataclasses.replace(packed, m=4)
    assert one.work["answer"]["key_switch"] == (8 + 8 + 8 + 8) * once


def test_large_uploads_are_streamed():
    lookup = plan_product(1, 32, 30522, 384, 16, he_seconds, value_bits=15)
    assert max(upload_parts(lookup)) < 4 << 20
    assert lookup.memory_bytes < 300 << 20


def test_parameter_sets_are_listed_once():
    other = plan_product(1, 4, 4, 4, 40, he_seconds)
    assert parameter_sets([LAYER, other, LAYER]) == [LAYER.params, other.params]
