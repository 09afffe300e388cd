"""Operators without a translation: ONNX Runtime computes them at the client, and nowhere else."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper
from onnx_models import model, one_node, tensor
from whole import cost_as_predicted, two_parties

import ppc
from ppc.frontend.errors import UnsupportedModel
from ppc.frontend.ir import ops
from ppc.frontend.ir.graph import walk
from ppc.frontend.ir.reference import evaluate
from ppc.frontend.read.load import load
from ppc.frontend.read.run import run
from ppc.runtime.base.function import Onnx
from ppc.runtime.plan.local import Apply

R = np.random.default_rng(3)
X = R.normal(size=(1, 2, 4, 4)).astype(np.float32)
W = tensor("w", R.normal(size=(128, 5)).astype(np.float32))

ALONE = {
    "Hardmax": one_node("Hardmax", {"x": X}, axis=-1),
    "Resize by sizes": one_node("Resize", {"x": X}, [None, None, np.array([1, 2, 8, 8])], mode="linear"),
    "DepthToSpace": one_node("DepthToSpace", {"x": X.reshape(1, 8, 2, 2)}, blocksize=2),
    "LRN": one_node("LRN", {"x": X}, size=3),
    "MaxPool": one_node("MaxPool", {"x": X}, kernel_shape=[2, 2]),
    "Det": one_node("Det", {"x": X}),
    "Pad that reflects": one_node("Pad", {"x": X}, [np.array([0, 0, 1, 1, 0, 0, 1, 1])], mode="reflect"),
    "all outputs or none": one_node("DynamicQuantizeLinear", {"x": X}, outputs=3),
    "a diagonal": one_node("Einsum", {"x": X}, equation="abii->abi"),
    "whole numbers": one_node("Mod", {"n": np.array([[5, -7, 9]])}, [np.array([3])], fmod=0),
}


@pytest.mark.parametrize("name", ALONE)
def test_the_client_gets_what_onnx_runtime_gives(name: str) -> None:
    proto = ALONE[name]
    (given,) = (each.name for each in proto.graph.input)
    feeds = {
        given: np.array([[5, -7, 9]])
        if given == "n"
        else X.reshape([d.dim_value for d in proto.graph.input[0].type.tensor_type.shape.dim])
    }
    name = proto.graph.output[0].name
    wanted = run(proto, feeds)[name]
    got = evaluate(load(proto), feeds)[name]
    assert got.shape == wanted.shape
    np.testing.assert_allclose(got, wanted, rtol=1e-5, atol=1e-6)


def before_a_product(*nodes: onnx.NodeProto) -> onnx.ModelProto:
    """x through ``nodes`` to s, and s by a matrix of the server's."""
    flat = helper.make_node("Reshape", ["s", "flat"], ["r"])
    product = helper.make_node("MatMul", ["r", "w"], ["y"])
    constants = [W, tensor("flat", np.array([1, 128])), tensor("sizes", np.array([1, 2, 8, 8]))]
    return model([*nodes, flat, product], {"x": X}, ["y"], constants, opset=18)


RESIZED = before_a_product(
    helper.make_node("Resize", ["x", "", "", "sizes"], ["big"], mode="cubic", name="/resize"),
    helper.make_node("Hardmax", ["big"], ["s"], axis=-1, name="/hardmax"),
)


def test_a_whole_model_runs_by_two_parties(tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    onnx.save(RESIZED, path)
    made = ppc.compile(path, calibrate=[{"x": X}])
    functions = [op.function for op in made.plan.local if isinstance(op, Apply)]
    assert [op.operator for op in functions if isinstance(op, Onnx)] == ["Resize", "Hardmax"]
    server, client = two_parties(made, {"x": X})
    assert client.outputs is not None
    np.testing.assert_allclose(client.outputs["y"], run(RESIZED, {"x": X})["y"], atol=0.05)
    assert cost_as_predicted(server, client)


def test_what_a_weight_enters_is_refused() -> None:
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["a"]),
        helper.make_node("Hardmax", ["a"], ["y"], name="/h"),
    ]
    proto = model(nodes, {"x": np.ones((1, 128), np.float32)}, ["y"], [W])
    with pytest.raises(UnsupportedModel, match=r"Hardmax .* at /h"):
        load(proto)


def test_what_onnx_runtime_does_not_run_is_refused() -> None:
    with pytest.raises(UnsupportedModel, match="the_node"):
        load(one_node("MaxPool", {"x": X}, kernel_shape=[9, 9, 9]))


@pytest.mark.parametrize("op_type", ["NonZero", "Unique"])
def test_a_shape_that_depends_on_values_is_refused(op_type: str) -> None:
    with pytest.raises(UnsupportedModel, match="the_node"):
        load(one_node(op_type, {"x": X}))


def test_operators_of_onnx_runtime_itself() -> None:
    proto = one_node("Inverse", {"x": X}, domain="com.microsoft")
    got = evaluate(load(proto), {"x": X})["out"]
    np.testing.assert_allclose(got, np.linalg.inv(X), rtol=1e-3, atol=1e-4)


def test_an_attribute_without_elements_is_refused() -> None:
    proto = one_node("MaxPool", {"x": X}, kernel_shape=[2, 2])
    proto.graph.node[0].attribute.append(onnx.AttributeProto(name="strides", type=onnx.AttributeProto.INTS))
    with pytest.raises(UnsupportedModel, match="the_node"):
        load(proto)


def test_another_domain_is_refused() -> None:
    with pytest.raises(UnsupportedModel, match="the_node"):
        load(one_node("Inverse", {"x": X}, domain="org.example"))


def test_attributes_are_kept_as_plain_data() -> None:
    nodes = [op for op in walk(load(RESIZED)) if isinstance(op, ops.Clear)]
    assert [op.function.operator for op in nodes] == ["Resize", "Hardmax"]
    assert [dict(op.function.attributes).get("mode") for op in nodes] == ["cubic", None]
