import numpy as np
import pytest
from onnx import helper
from onnx_models import model, tensor

from ppc.frontend.errors import UnknownOutput, UsageError
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
