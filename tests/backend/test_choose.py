"""Parameter sets and tiles chosen for all products of a plan together."""

from __future__ import annotations

import msgspec
import pytest

from ppc.backend.choose import choose_products
from ppc.runtime.cost.rates import he_seconds
from ppc.runtime.he.params import MOST_LEVELS, PACKING_SETS
from ppc.runtime.he.product import Product, answer_bytes, parameter_sets, upload_bytes
from ppc.runtime.he.tiling import plan_product
from ppc.runtime.net.network import LAN, WAN
from ppc.runtime.plan.steps import Linear, MatMul


def layer() -> Product:
    return plan_product(1, 32, 384, 384, 29, he_seconds, norm_bits=13)


def wide() -> Product:
    return plan_product(1, 32, 384, 384, 40, he_seconds, norm_bits=16)


def scores() -> Product:
    return plan_product(12, 32, 32, 32, 28, he_seconds)


def steps_of(*products: Product) -> list[Linear | MatMul]:
    return [Linear(x=0, weight="w", scale=8, product=product) for product in products]


def chosen(steps: list, byte_price: float) -> list[Product]:
    return [product for step in choose_products(steps, byte_price) for product in step.products()]


def wire(product: Product) -> int:
    return upload_bytes(product) + answer_bytes(product)


@pytest.mark.long
def test_steps_keep_their_shapes_and_get_products_that_carry_them():
    steps = [*steps_of(layer(), wide()), MatMul(a=0, b=1, left=scores(), right=scores())]
    for old, new in zip(steps, choose_products(steps, WAN.byte_price), strict=True):
        assert type(old) is type(new)
        for a, b in zip(old.products(), new.products(), strict=True):
            same = ("batch", "m", "k", "n", "ell", "norm_bits")
            assert [getattr(a, name) for name in same] == [getattr(b, name) for name in same]


@pytest.mark.long
def test_answers_are_packed_where_bytes_are_dear_and_there_are_enough_of_them():
    many = steps_of(*[layer()] * 24)
    dear, cheap = chosen(many, WAN.byte_price), chosen(many, 1e-12)
    assert all(product.fill > 1 for product in dear)
    # sixteen in one answer are also less work than sixteen answers, but thirty-two are more
    assert max(product.fill for product in cheap) < min(product.fill for product in dear)
    # the switching keys of one small product would outweigh what packing saves
    small = steps_of(plan_product(1, 2, 16, 16, 20, he_seconds, norm_bits=8))
    assert all(product.fill == 1 for product in chosen(small, WAN.byte_price))


def test_the_network_changes_the_choice():
    steps = steps_of(*[layer()] * 6)
    lan, wan = chosen(steps, LAN.byte_price), chosen(steps, WAN.byte_price)
    assert sum(map(wire, wan)) < sum(map(wire, lan))
    assert sum(he_seconds(p) for p in wan) > sum(he_seconds(p) for p in lan)


def test_equal_products_share_one_set_of_keys():
    assert len(parameter_sets(chosen(steps_of(*[layer()] * 5), WAN.byte_price))) == 1


@pytest.mark.parametrize("count", [1, 40])
def test_a_second_set_is_taken_in_when_it_pays(count):
    """A product in a wide ring needs a larger modulus; the others get a set of their own if they are many."""
    sets = parameter_sets(chosen(steps_of(wide(), *[layer()] * count), WAN.byte_price))
    assert len(sets) == (2 if count == 40 else 1)


def test_switching_keys_go_as_far_as_answers_are_packed():
    packed = [product for product in chosen(steps_of(*[layer()] * 24), WAN.byte_price) if product.fill > 1]
    assert packed
    for product in packed:
        most = max(other.tile.inner for other in packed if other.params == product.params)
        assert 2**product.params.pack_levels == most


def test_one_row_is_packed_over_more_levels():
    """It leaves columns that fill an upload, or few of them and many answers. Where there are many rows, it
    does not pay."""
    row = plan_product(1, 1, 1536, 576, 29, he_seconds, norm_bits=13)
    few, many = (
        chosen(steps_of(*[row] * 24), WAN.byte_price),
        chosen(steps_of(*[layer()] * 24), WAN.byte_price),
    )
    assert max(product.tile.inner for product in many) <= 2**MOST_LEVELS
    assert min(product.tile.inner for product in few) > 2**MOST_LEVELS
    best = plan_product(
        1, 1, 1536, 576, 29, he_seconds, norm_bits=13, byte_price=WAN.byte_price, params=PACKING_SETS
    )
    assert wire(few[0]) < 0.6 * wire(best)


def test_other_steps_are_left_as_they_are():
    (step,) = steps_of(layer())
    renamed = msgspec.structs.replace(step, name="here")
    (after,) = choose_products([renamed], LAN.byte_price)
    assert after.name == "here"
    assert choose_products([], LAN.byte_price) == ()
