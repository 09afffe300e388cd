"""The list of constants that are public by their value: what is on it, and that it is short."""

import math

import numpy as np
import pytest

from ppc.frontend.read.formula import is_number, of_a_formula

ON = [
    0.0, 1.0, 0.5, 2.0**-20, 2.0**40, 3.0, 255.0, 256.0, 1 / 3, 1 / 16, 0.1, 1e-5, 1e-12, 1e4, 1e9, 1e30, 5e4,
    6.5e4, math.inf, math.nan, 1e300, 5e-324, math.sqrt(2), 1.702, 0.044715, math.sqrt(2 / math.pi), 127.5,
    1 / 255,
    float(np.finfo(np.float16).max), float(np.finfo(np.float32).max), float(np.finfo(np.float32).max) / 2,
]  # fmt: skip
OFF = [
    0.3,
    0.7,
    1.5,
    2.75,
    257.0,
    1 / 17,
    2e-5,
    3.217e-6,
    12345.0,
    4.6052,
    math.sqrt(32),
    0.37,
    14.2857,
    math.pi,
]


@pytest.mark.parametrize("x", ON)
def test_numbers_of_a_formula(x: float) -> None:
    with np.errstate(over="ignore"):
        assert all(is_number(float(kind(sign * x))) for kind in (float, np.float32) for sign in (1, -1))
        assert x > 65504 or is_number(float(np.float16(x)))


@pytest.mark.parametrize("x", OFF)
def test_all_other_numbers(x: float) -> None:
    assert not any(is_number(float(kind(sign * x))) for kind in (float, np.float32) for sign in (1, -1))


def test_brain_floats_count_as_what_they_were_rounded_from() -> None:
    assert is_number(0.10009765625)
    assert is_number(-3.3895313892515355e38)


@pytest.mark.parametrize(("kind", "most"), [(np.float32, 0), (np.float16, 0.007)])
def test_few_numbers_are_on_the_list(kind: type, most: float) -> None:
    drawn = np.random.default_rng(0).uniform(0.5, 1, 4000).astype(kind)
    assert np.mean([is_number(float(x)) for x in drawn]) <= most


@pytest.mark.parametrize("kind", [np.float32, np.float16, np.int64, np.int32, np.uint8])
def test_what_kind_of_number_it_is_makes_no_difference(kind: type) -> None:
    for x, public in ((3, True), (200, True), (100, True), (64, True)):
        assert of_a_formula(np.array(x, kind)) is public
        assert of_a_formula(np.array([[x]], kind)) is public


def test_nothing_tells_nothing() -> None:
    assert of_a_formula(np.zeros((0, 3)))
    assert of_a_formula(np.array(["a"]))
