"""What is cut off at a power of two, where a ring ends that has no room for more."""

import numpy as np
import onnx
import onnxruntime
import pytest
from numpy.testing import assert_allclose
from onnx import helper
from onnx_models import model, tensor

import ppc

RNG = np.random.default_rng(0)
WEIGHTS = {name: RNG.standard_normal((8, 8)).astype(np.float32) for name in "wv"}


@pytest.mark.parametrize("function", ["Relu", "LeakyRelu", "HardSwish", "Tanh"])
@pytest.mark.parametrize("ends", [(-1.0, 1.0), (0.0, 4.0)])
def test_a_function_of_it_is_what_it_was(function, ends, tmp_path):
    def feed():
        return {"x": 2 * RNG.standard_normal((4, 8)).astype(np.float32)}

    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["m"]),
        helper.make_node("Clip", ["m", "lo", "hi"], ["c"]),
        helper.make_node(function, ["c"], ["a"]),
        helper.make_node("MatMul", ["a", "v"], ["out"]),
    ]
    values = WEIGHTS | dict(zip(("lo", "hi"), np.float32(ends), strict=True))
    made = model(nodes, feed(), ["out"], [tensor(*each) for each in values.items()])
    onnx.save(made, tmp_path / "model.onnx")
    compiled = ppc.compile(tmp_path / "model.onnx", calibrate=[feed() for _ in range(32)])
    x = feed()
    (want,) = onnxruntime.InferenceSession(made.SerializeToString()).run(None, x)
    got = ppc.simulate(compiled.plan, compiled.weights, x)["out"]
    assert_allclose(got, want, rtol=0, atol=0.03 * want.std())
