"""Activations in 8 bits are the floats that they stand for, or refused."""

from __future__ import annotations

import numpy as np
import pytest
from eight_bits import APART, MODELS, ROUNDED, X, built, node
from onnx import numpy_helper

from ppc.frontend.errors import UnsupportedModel
from ppc.frontend.ir import ops
from ppc.frontend.ir.graph import walk
from ppc.frontend.ir.ops import Input
from ppc.frontend.ir.reference import evaluate
from ppc.frontend.ir.text import show
from ppc.frontend.read.load import load
from ppc.frontend.read.run import run

EIGHT = np.random.default_rng(1).integers(-99, 99, (2, 6, 16)).astype(np.int8)
M = np.random.default_rng(2).normal(size=(16, 4)).astype(np.float32)


@pytest.mark.parametrize("name", MODELS)
def test_floats_in_the_place_of_eight_bits(name: str) -> None:
    """ONNX Runtime rounds each activation to one of 256 values; we do not."""
    case = MODELS[name]
    wanted = run(case.proto, case.feeds)["y"]
    got = evaluate(load(case.proto), case.feeds)["y"]
    assert got.shape == wanted.shape
    assert np.abs(got - wanted).max() < 0.03 * np.abs(wanted).max()


@pytest.mark.parametrize(
    "name",
    ["a product, as quantize_dynamic writes it", "a scale and a zero point a column, one after the other"],
)
def test_the_scale_is_in_the_weight(name: str) -> None:
    """As DequantizeLinear would give it, and no product by it is left."""
    case = MODELS[name]
    graph = load(case.proto)
    assert not [op for op in walk(graph) if isinstance(op, ops.Mul) and op.type.size > 12]
    (product,) = [op for op in walk(graph) if isinstance(op, ops.MatMul)]
    held = {
        each.name: numpy_helper.to_array(each).astype(np.float32) for each in case.proto.graph.initializer
    }
    assert isinstance(product.b, ops.Const)
    assert product.b.secret
    np.testing.assert_allclose(product.b.value, (held["w"] - held["wz"]) * held["ws"], rtol=1e-6)


def test_every_operator_of_these_is_tested() -> None:
    assert set(ROUNDED) <= {each for case in MODELS.values() for each in case.operators}


@pytest.mark.parametrize("name", APART)
@pytest.mark.usefixtures("a_weight_enters")
def test_none_is_read_apart_from_its_scale(name: str) -> None:
    with pytest.raises(UnsupportedModel, match="apart from the scale"):
        load(APART[name].proto)


def test_the_client_is_not_asked_for_what_it_does_not_have() -> None:
    """Of an activation in 8 bits it has the float."""
    with pytest.raises(UnsupportedModel, match="apart from the scale"):
        load(APART["scale twice"].proto)


def test_a_secret_zero_point_of_nothing_is_not_seen() -> None:
    """Of two models that differ in the value of a secret the graphs are the same."""
    shown = []
    for zero in (0, 7):
        zeros = np.full(16, zero, np.int8)
        nodes = [node("DequantizeLinear", "x s z", "f", axis=2), node("MatMul", "f m", "y")]
        held = {"s": np.linspace(0.1, 0.2, 16, dtype=np.float32), "z": zeros, "m": M}
        shown.append(show(load(built({"x": EIGHT}, nodes, **held).proto)))
    assert shown[0] == shown[1]


def test_scales_of_two_names_are_not_compared() -> None:
    nodes = [node("QuantizeLinear", "x s z", "q"), node("DequantizeLinear", "q t u", "y")]
    held = {"s": np.float32(0.031), "t": np.float32(0.031), "z": np.int8(3), "u": np.int8(3)}
    case = built({"x": X}, nodes, **held)
    graph = load(case.proto)
    assert not isinstance(graph.outputs["y"], Input)
    np.testing.assert_allclose(evaluate(graph, {"x": X})["y"], X, rtol=1e-5, atol=1e-5)
