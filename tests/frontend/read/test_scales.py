"""Activations in 8 bits are the floats that they stand for, or refused."""

from __future__ import annotations

import numpy as np
import pytest
from eight_bits import APART, MODELS, ROUNDED

from ppc.frontend.errors import UnsupportedModel
from ppc.frontend.ir.reference import evaluate
from ppc.frontend.read.load import load
from ppc.frontend.read.run import run


@pytest.mark.parametrize("name", MODELS)
def test_floats_in_the_place_of_eight_bits(name: str) -> None:
    """ONNX Runtime rounds each activation to one of 256 values; we do not."""
    case = MODELS[name]
    wanted = run(case.proto, case.feeds)["y"]
    got = evaluate(load(case.proto), case.feeds)["y"]
    assert got.shape == wanted.shape
    assert np.abs(got - wanted).max() < 0.03 * np.abs(wanted).max()


def test_every_operator_of_these_is_tested() -> None:
    assert set(ROUNDED) <= {each for case in MODELS.values() for each in case.operators}


@pytest.mark.parametrize("name", APART)
@pytest.mark.usefixtures("a_weight_enters")
def test_none_is_read_apart_from_its_scale(name: str) -> None:
    with pytest.raises(UnsupportedModel, match=r"apart from the scale|outputs in 8 bits"):
        load(APART[name].proto)
