"""One ONNX operator from a plan: what it may be made of, and what becomes of bad ones."""

from __future__ import annotations

import subprocess
import sys

import msgspec
import numpy as np
import pytest

from ppc.runtime.base.errors import BadInput
from ppc.runtime.base.function import Onnx
from ppc.runtime.plan.local import Apply, Input, infer_local, run_local

X = np.array([[0.5, 3.0, -1.0]])


def node(operator: str = "Hardmax", **fields: object) -> Apply:
    said: dict[str, object] = {"opset": 17, "result": 0, "results": 1, "kinds": ("float",), "shape": (1, 3)}
    return Apply(Onnx(operator=operator, **{**said, **fields}), (0,))


def computed(op: Apply) -> np.ndarray:
    program = [Input("x"), op]
    infer_local(program, {"x": (1, 3)})
    return run_local(program, {"x": X})[1]


def test_it_computes() -> None:
    assert computed(node(attributes=(("axis", 1),))).tolist() == [[0, 1, 0]]


@pytest.mark.parametrize(
    ("op", "says"),
    [
        (node("Nothing"), "Nothing"),
        (node("Loop"), "Loop"),
        (node("org.example.Hardmax"), "operators of org.example"),
        (node(attributes=(("axis", 7),)), r"axis"),
        (node(attributes=(("axis", (1.5, "x")),)), None),
        (node(shape=(3, 1)), "shape"),
        (node(kinds=("float", "float")), "operands"),
        (node(kinds=(None,)), "operands"),
        (node(result=4), None),
        (node(opset=10**6), None),
    ],
)  # fmt: skip
def test_a_bad_one_is_one_line(op: Apply, says: str | None) -> None:
    with pytest.raises(BadInput, match=says) as caught:
        computed(op)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("field", "value", "says"),
    [
        ("kinds", ["complex"], "Invalid enum value 'complex'"),
        ("results", 0, "`int` >= 1"),
        ("results", 2**40, "`int` <= 65536"),
        ("attributes", [["axis", {"a": 1}]], r"Expected `int \| float \| str \| array`, got `object`"),
        ("attributes", [["body", b"graph"]], r"Expected `int \| float \| str \| array`, got `bytes`"),
        ("attributes", [["axis", 1, 2]], "length 2"),
        ("operator", 7, "Expected `str`"),
    ],
)
def test_what_no_node_can_say_is_refused(field: str, value: object, says: str) -> None:
    tree = msgspec.msgpack.decode(msgspec.msgpack.encode(node()))
    tree["function"][field] = value
    with pytest.raises(msgspec.ValidationError, match=says):
        msgspec.msgpack.decode(msgspec.msgpack.encode(tree), type=Apply)


def test_without_onnx_the_remedy_is_named() -> None:
    code = (
        "import sys; sys.modules['onnx'] = None; sys.modules['onnxruntime'] = None\n"
        "from ppc.runtime.base.function import Onnx\n"
        "from ppc.runtime.plan.local import Apply, Input, run_local\n"
        "import numpy as np\n"
        "op = Onnx(operator='Abs', opset=17, result=0, results=1, kinds=('float',), shape=(1, 3))\n"
        "run_local([Input('x'), Apply(op, (0,))], {'x': np.ones((1, 3))})"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (
        "'Abs' at the client needs onnx, onnxruntime (not installed here): pip install 'ppc[compile]'"
        in done.stderr.splitlines()[-1]
    )
