"""Local functions of other opsets, and opsets whose operators kept their meaning."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from eight_bits import node
from onnx import helper
from onnx_models import DOMAIN, model, tensor

from ppc.frontend.errors import NotOnnx
from ppc.frontend.ir.reference import evaluate
from ppc.frontend.read.load import load
from ppc.frontend.read.run import run

X = np.random.default_rng(4).normal(size=(2, 3, 4)).astype(np.float32)


def calling(body: list[onnx.NodeProto], function: int, opset: int) -> onnx.ModelProto:
    imports = [helper.make_opsetid("", function), helper.make_opsetid(DOMAIN, 1)]
    made = helper.make_function("mine", "F", ["a"], ["b"], body, imports)
    call = helper.make_node("F", ["x"], ["f"], domain="mine")
    return model([call, node("Neg", "f", "y")], {"x": X}, ["y"], opset=opset, functions=[made])


def softmax(x: np.ndarray, axes: tuple[int, ...]) -> np.ndarray:
    e = np.exp(x - x.max(axes, keepdims=True))
    return e / e.sum(axes, keepdims=True)


SAME = {
    "an operator of both": ([node("Sigmoid", "a", "b")], 18, 17, 1 / (1 + np.exp(-X))),
    "types were added": ([node("Relu", "a", "b")], 12, 17, np.maximum(X, 0)),
    "flattened axes before opset 13": ([node("Softmax", "a", "b")], 12, 17, softmax(X, (1, 2))),
    "axes that were an attribute": (
        [node("ReduceMean", "a", "b", axes=[1])],
        17,
        18,
        X.mean(1, keepdims=True),
    ),
    "axes that became an operand": (
        [node("Unsqueeze", "a", "t", axes=[0]), node("Squeeze", "t", "b", axes=[0])],
        11,
        20,
        X,
    ),
    "the model in the function's": (
        [node("Constant", "", "i", value_ints=[1]), node("ReduceMean", "a i", "b")],
        18,
        17,
        X.mean(1, keepdims=True),
    ),
    "an operator that came later": ([node("Gelu", "a", "b", approximate="tanh")], 20, 17, None),
    "ONNX Runtime's own": ([node("QuickGelu", "a", "t", DOMAIN), node("Relu", "t", "b")], 12, 18, None),
    "beyond the last that changed": ([node("Transpose", "a", "b")], 25, 21, X.T),
}


@pytest.mark.parametrize("name", SAME)
def test_a_function_of_another_opset(name: str) -> None:
    body, function, opset, wanted = SAME[name]
    proto = calling(body, function, opset)
    got = -evaluate(load(proto), {"x": X})["y"]
    np.testing.assert_allclose(got, -run(proto, {"x": X})["y"], rtol=1e-5, atol=1e-6)
    if wanted is not None:
        np.testing.assert_allclose(got, wanted, rtol=1e-5, atol=1e-6)


def test_a_function_that_neither_fits_is_refused_by_name() -> None:
    body = [node("Constant", "", "i", value_ints=[1]), node("ReduceMean", "a i", "b")]
    proto = calling(body, 18, 17)
    proto.graph.node.append(node("ReduceMean", "x", "z", axes=[0]))
    with pytest.raises(NotOnnx, match=r"mine\.F is of opset 18 and the model of 17, where ReduceMean means"):
        load(proto)


@pytest.mark.parametrize("opset", [24, 25, 28])
def test_later_opsets_mean_what_they_meant(opset: int) -> None:
    """What is known is evaluated as of an opset that every ONNX Runtime has."""
    nodes = [
        node("Cast", "h", "w", to=onnx.TensorProto.FLOAT),
        node("Transpose", "w", "t", perm=[1, 0]),
        node("Shape", "x", "s"),
        node("MatMul", "x t", "p"),
        node("Reshape", "p s", "r"),
        node("Squeeze", "r", "y"),
    ]
    half = np.random.default_rng(1).normal(size=(4, 4)).astype(np.float16)
    graph = load(model(nodes, {"x": X}, ["y"], [tensor("h", half)], opset=opset))
    np.testing.assert_allclose(evaluate(graph, {"x": X})["y"], X @ half.T.astype(np.float64), rtol=1e-6)
