"""Sequences of tensors are their members."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from eight_bits import node
from onnx_models import model, tensor

from ppc.frontend.errors import UnsupportedModel
from ppc.frontend.ir.reference import evaluate
from ppc.frontend.read.load import load
from ppc.frontend.read.run import run

R = np.random.default_rng(2)
X = R.normal(size=(2, 7, 3)).astype(np.float32)
HELD = {
    "w": R.normal(size=(2, 7, 3)).astype(np.float32),
    "two": np.asarray(2),
    "sizes": np.array([1, 4, 2]),
    "last": np.asarray(-1),
    "first": np.asarray(0),
}


def of(*nodes: onnx.NodeProto) -> onnx.ModelProto:
    used = {name for each in nodes for name in each.input}
    held = [tensor(name, value) for name, value in HELD.items() if name in used]
    return model(nodes, {"x": X}, ["y"], held)


TAKEN = {
    "one by one": of(node("SplitToSequence", "x", "s", axis=1), node("SequenceAt", "s last", "y")),
    "one by one, axis gone": of(
        node("SplitToSequence", "x", "s", axis=-2, keepdims=0), node("SequenceAt", "s two", "y")
    ),
    "two by two, one left": of(
        node("SplitToSequence", "x two", "s", axis=1), node("SequenceAt", "s last", "y")
    ),
    "sizes": of(node("SplitToSequence", "x sizes", "s", axis=1), node("SequenceAt", "s two", "y")),
    "two of them, added": of(
        node("SplitToSequence", "x", "s", axis=0),
        node("SequenceAt", "s first", "a"),
        node("SequenceAt", "s last", "b"),
        node("Add", "a b", "y"),
    ),
    "of a weight": of(
        node("SplitToSequence", "w sizes", "s", axis=1),
        node("SequenceAt", "s first", "a"),
        node("Mul", "x a", "y"),
    ),
    "put together and joined": of(
        node("SequenceConstruct", "x w x", "s"), node("ConcatFromSequence", "s", "y", axis=1)
    ),
    "stacked": of(
        node("SequenceConstruct", "x w", "s"), node("ConcatFromSequence", "s", "y", axis=-1, new_axis=1)
    ),
    "its length": of(
        node("SplitToSequence", "x two", "s", axis=1),
        node("SequenceLength", "s", "n"),
        node("Cast", "n", "f", to=onnx.TensorProto.FLOAT),
        node("Mul", "x f", "y"),
    ),
}


@pytest.mark.parametrize("name", TAKEN)
def test_taken_apart(name: str) -> None:
    proto = TAKEN[name]
    got = evaluate(load(proto), {"x": X})["y"]
    wanted = run(proto, {"x": X})["y"]
    assert got.shape == wanted.shape
    np.testing.assert_allclose(got, wanted, rtol=1e-6)


REFUSED = {
    "sizes that do not fit": (
        of(node("SplitToSequence", "x sizes", "s", axis=2), node("SequenceAt", "s two", "y")),
        r"splits 3 into \[1, 4, 2\]",
    ),
    "beyond its end": (
        of(node("SplitToSequence", "x two", "s", axis=0), node("SequenceAt", "s two", "y")),
        "reads place 2 of 1",
    ),
    "another reader": (
        of(
            node("SplitToSequence", "x", "s", axis=0),
            node("SequenceErase", "s first", "t"),
            node("SequenceAt", "t first", "y"),
        ),
        "only SequenceAt and ConcatFromSequence",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
@pytest.mark.usefixtures("a_weight_enters")
def test_refused(name: str) -> None:
    proto, reason = REFUSED[name]
    with pytest.raises(UnsupportedModel, match=reason) as caught:
        load(proto)
    assert caught.value.ops[0].node.startswith("Se" if "reader" in name else "S")


@pytest.mark.usefixtures("a_weight_enters")
def test_a_place_of_the_clients_is_refused() -> None:
    nodes = [node("SplitToSequence", "x", "s", axis=0), node("SequenceAt", "s i", "y")]
    with pytest.raises(UnsupportedModel, match="the place in a sequence must not depend"):
        load(model(nodes, {"x": X, "i": np.asarray(0)}, ["y"]))
