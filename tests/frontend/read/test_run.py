import numpy as np
import pytest
from onnx import helper
from onnx_models import model, tensor

from ppc.frontend.errors import NotRun, UnknownOutput, UsageError
from ppc.frontend.read.run import all_values, run

X = np.ones((2, 3), np.float32)
PROTO = model(
    [helper.make_node("MatMul", ["x", "w"], ["h"]), helper.make_node("Relu", ["h"], ["y"])],
    {"x": X},
    ["y"],
    [tensor("w", -np.ones((3, 1), np.float32))],
)


def test_outputs_and_inner_tensors() -> None:
    assert run(PROTO, {"x": X})["y"].tolist() == [[0], [0]]
    assert run(PROTO, {"x": X}, ["h"])["h"].tolist() == [[-3], [-3]]
    assert [each.name for each in PROTO.graph.output] == ["y"]


def test_all_values() -> None:
    assert set(all_values(PROTO, {"x": X})) == {"h", "y"}
    assert set(all_values(PROTO, {"x": X}, ["h", "not there"])) == {"h"}


def test_feeds_are_cast_to_what_the_model_declares() -> None:
    assert run(PROTO, {"x": X.astype(np.int32)})["y"].dtype == np.float32


def test_feeds_are_checked() -> None:
    with pytest.raises(UsageError, match="no value for input x"):
        run(PROTO, {})
    with pytest.raises(UsageError, match="no input z"):
        run(PROTO, {"x": X, "z": X})
    with pytest.raises(UnknownOutput, match="no output 'q'"):
        run(PROTO, {"x": X}, ["q"])


def test_what_is_not_asked_for_needs_no_input() -> None:
    nodes = [helper.make_node("Neg", ["x"], ["y"]), helper.make_node("Neg", ["q"], ["z"])]
    two = model(nodes, {"x": X, "q": X}, ["y", "z"])
    assert set(run(two, {"x": X}, ["y"])) == {"y"}
    assert all_values(two, {"x": X, "q": X}, ["nothing of it"]) == {}


@pytest.mark.parametrize(
    ("node", "feeds"),
    [
        (helper.make_node("MatMul", ["x", "w"], ["y"]), {"x": np.ones((2, 4), np.float32)}),
        (helper.make_node("MatMul", ["x", "w"], ["y"]), {"x": np.ones(3, np.float32)}),
        (helper.make_node("NoSuch", ["x"], ["y"]), {"x": X}),
        (helper.make_node("Det", ["x"], ["y"]), {"x": X}),
        (helper.make_node("Neg", ["x"], ["y"]), {"x": np.array([["a", "b", "c"]] * 2)}),
    ],
)
def test_what_onnx_runtime_refuses_is_one_line(node, feeds) -> None:
    proto = model([node], {"x": X}, ["y"], [tensor("w", -np.ones((3, 1), np.float32))])
    with pytest.raises(NotRun, match=r"^ONNX Runtime cannot run the model on these inputs: ") as caught:
        run(proto, feeds)
    assert "\n" not in str(caught.value)
