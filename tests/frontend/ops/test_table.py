"""Each operator against ONNX Runtime, over the model as loaded and evaluated by the reference."""

import numpy as np
import pytest
from eight_bits import ROUNDED
from fused_cases import AS_FLOATS
from onnx import TensorProto, helper
from onnx_cases import CASES, REFUSED, ROW, TRIED, Case, R, X, f
from onnx_models import model, one_node, tensor

from ppc.frontend.errors import UnsupportedModel
from ppc.frontend.ir.reference import evaluate
from ppc.frontend.ops.table import TABLE
from ppc.frontend.read.load import load
from ppc.frontend.read.run import run


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case[0]}-{len(case[2])}-{sorted(case[3])}")
def test_agrees_with_onnx_runtime(case: Case) -> None:
    op_type, feeds, constants, attributes = case
    proto = one_node(op_type, feeds, constants, **attributes)
    names = [each.name for each in proto.graph.output]
    graph, theirs = load(proto, outputs=names), run(proto, feeds)
    ours = evaluate(graph, {each.name: feeds[each.name] for each in graph.inputs})  # those that are read
    tolerance = 2e-3 if attributes.get("to") == TensorProto.FLOAT16 else 2e-5
    for name in names:
        assert ours[name].shape == theirs[name].shape
        if op_type not in AS_FLOATS:
            assert ours[name].dtype.kind == theirs[name].dtype.kind.replace("u", "i")
        np.testing.assert_allclose(ours[name], theirs[name], rtol=tolerance, atol=tolerance)


ELSEWHERE = {*ROUNDED, "com.microsoft.GatherBlockQuantized"}
"""Held against ONNX Runtime in `test_scales.py` and `test_weights.py`."""


def test_every_entry_of_the_table_is_tested() -> None:
    assert set(TABLE) == TRIED | ELSEWHERE


@pytest.mark.parametrize(
    ("case", "reason"), REFUSED, ids=lambda each: each[0] if isinstance(each, tuple) else ""
)
@pytest.mark.usefixtures("a_weight_enters")
def test_says_why_it_is_refused(case: Case, reason: str) -> None:
    op_type, feeds, constants, attributes = case
    with pytest.raises(UnsupportedModel, match=reason) as caught:
        load(one_node(op_type, feeds, constants, **attributes))
    (only,) = caught.value.ops
    assert only.node == "the_node"
    assert only.op_type.endswith(op_type)
    assert f"(opset {only.opset})" in str(only)


def test_statistics_that_nobody_reads_do_no_harm() -> None:
    node = helper.make_node("LayerNormalization", ["x", "g"], ["y", "mean", "inv"], name="norm")
    proto = model([node], {"x": X}, ["y"], [tensor("g", ROW)])
    assert evaluate(load(proto), {"x": X})["y"].shape == X.shape


def test_statistics_that_somebody_reads_are_refused() -> None:
    norm = helper.make_node("LayerNormalization", ["x", "g"], ["y", "mean", "inv"], name="norm")
    reader = helper.make_node("Exp", ["mean"], ["z"], name="reader")
    with pytest.raises(UnsupportedModel, match=r"reader.*mean is a further output of LayerNormalization"):
        load(model([norm, reader], {"x": X}, ["z"], [tensor("g", ROW)]))


def test_float_widths_mean_the_same() -> None:
    half = X.astype(np.float16)
    node = helper.make_node("Mul", ["x", "w"], ["y"])
    proto = model([node], {"x": half}, ["y"], [tensor("w", ROW.astype(np.float16))])
    expected = half.astype(np.float64) * ROW.astype(np.float16).astype(np.float64)
    np.testing.assert_allclose(evaluate(load(proto), {"x": half})["y"], expected, rtol=1e-6)


def test_bfloat16_weights() -> None:
    weights = helper.make_tensor("w", TensorProto.BFLOAT16, [4], ROW.tolist())
    widened = helper.make_node("Cast", ["w"], ["v"], to=TensorProto.FLOAT)
    proto = model([widened, helper.make_node("Mul", ["x", "v"], ["y"])], {"x": X}, ["y"], [weights])
    np.testing.assert_allclose(evaluate(load(proto), {"x": X})["y"], X * ROW, rtol=1e-2)


def test_quantized_weights_are_unpacked_when_loading() -> None:
    quantized = R.integers(-128, 128, (4, 5)).astype(np.int8)
    nodes = [
        helper.make_node("DequantizeLinear", ["q", "scale", "zero"], ["w"]),
        helper.make_node("MatMul", ["x", "w"], ["y"]),
    ]
    initializers = [tensor("q", quantized), tensor("scale", f(0.02)), tensor("zero", np.int8(3))]
    proto = model(nodes, {"x": X}, ["y"], initializers)
    graph = load(proto)
    weight = graph.outputs["y"].operands[1]
    assert weight.attributes["secret"]
    np.testing.assert_allclose(
        evaluate(graph, {"x": X})["y"], run(proto, {"x": X})["y"], rtol=1e-4, atol=1e-5
    )
