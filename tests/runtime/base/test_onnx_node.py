"""One ONNX operator from a plan: what it may be made of, and what becomes of bad ones."""

from __future__ import annotations

import subprocess
import sys

import msgspec
import numpy as np
import pytest

from ppc.runtime.base.errors import BadInput
from ppc.runtime.plan.local import LocalOp, infer_local, run_local

X = np.array([[0.5, 3.0, -1.0]])


def node(
    text: str = "Hardmax",
    *,
    ints: tuple[int, ...] = (17, 0, 1, 0),
    shape: tuple[int, ...] = (1, 3),
    data: bytes | None = None,
    **attributes: object,
) -> LocalOp:
    packed = msgspec.msgpack.encode(attributes) if data is None else data
    return LocalOp(op="Onnx", args=(0,), text=text, ints=ints, shape=shape, data=packed)


def computed(op: LocalOp) -> np.ndarray:
    program = [LocalOp(op="Input", text="x"), op]
    infer_local(program, {"x": (1, 3)})
    return run_local(program, {"x": X})[1]


def test_it_computes() -> None:
    assert computed(node(axis=1)).tolist() == [[0, 1, 0]]


@pytest.mark.parametrize(
    ("op", "says"),
    [
        (node("Nothing"), "Nothing"),
        (node("Loop"), "Loop"),
        (node("org.example.Hardmax"), "operators of org.example"),
        (node(axis=7), r"axis"),
        (node(axis=[1.5, "x"]), None),
        (node(shape=(3, 1)), "shape"),
        (node(ints=(17, 0, 1, 9)), None),
        (node(ints=(17, 0, 1, 0, 0)), "operands"),
        (node(ints=(17,)), None),
        (node(ints=(10**6, 0, 1, 0)), None),
        (node(data=b"\xff"), "attributes"),
        (node(data=msgspec.msgpack.encode({"axis": {"a": 1}})), "attributes"),
        (node(data=msgspec.msgpack.encode({"body": b"graph"})), "attributes"),
    ],
)  # fmt: skip
def test_a_bad_one_is_one_line(op: LocalOp, says: str | None) -> None:
    with pytest.raises(BadInput, match=says) as caught:
        computed(op)
    assert "\n" not in str(caught.value)


def test_without_onnx_the_remedy_is_named() -> None:
    code = (
        "import sys; sys.modules['onnx'] = None; sys.modules['onnxruntime'] = None\n"
        "from ppc.runtime.plan.local import LocalOp, run_local\nimport numpy as np\n"
        "op = LocalOp(op='Onnx', args=(0,), text='Abs', ints=(17, 0, 1, 0), shape=(1, 3), data=b'\\x80')\n"
        "run_local([LocalOp(op='Input', text='x'), op], {'x': np.ones((1, 3))})"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert "pip install onnx onnxruntime" in done.stderr.splitlines()[-1]
