"""One ONNX operator on what a party knows alone, by ONNX Runtime: for those that `clear` has no function for.

A plan may come from a stranger, so a node is built here from a name and plain attributes – no tensors, files,
subgraphs or operators but ONNX's and ONNX Runtime's own. `onnx` and `onnxruntime` are imported once such a
node is met; no other plan needs them.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any, Protocol

import msgspec
import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
Value = int | float | str | list[int | float | str]
"""Of an attribute."""

RUNTIMES = "com.microsoft"
"""The domain of ONNX Runtime's own operators, written before their names."""

MISSING = -1
KINDS = (np.float32, np.int64, np.bool_)
"""What operands are cast to, by the number that says so; `MISSING` is one that is left out."""


class OnnxNode(Protocol):
    """``text`` is the operator; ``ints`` opset, which of how many results, and a kind for each operand."""

    @property
    def text(self) -> str: ...
    @property
    def ints(self) -> tuple[int, ...]: ...
    @property
    def data(self) -> bytes: ...
    @property
    def shape(self) -> tuple[int, ...]: ...


def attributes_of(data: bytes) -> dict[str, Value]:
    """Raises ValueError for what are no plain attributes."""
    try:
        return msgspec.msgpack.decode(data, type=dict[str, Value])
    except msgspec.MsgspecError as error:
        raise ValueError(f"no attributes of an operator: {error}") from None


def run_node(op: OnnxNode, *xs: Array) -> Array:
    """The result ``op`` asks for. Raises ValueError where it cannot be had, or has another shape."""
    kinds = op.ints[3:]
    given = [i for i, kind in enumerate(kinds) if kind != MISSING]
    if len(given) != len(xs):
        raise ValueError(f"{len(xs)} operands where {len(given)} are described")
    feeds = {f"x{i}": x.astype(KINDS[kinds[i]]) for i, x in zip(given, xs, strict=True)}
    try:
        (found,) = _session(op.text, op.ints, op.data).run(None, feeds)
    except ImportError:
        raise ValueError("it takes ONNX Runtime: pip install onnx onnxruntime") from None
    except Exception as error:  # ONNX Runtime has classes of its own, which are not ours to import
        raise ValueError(first_line(error)) from None
    if not isinstance(found, np.ndarray) or found.shape != op.shape or found.dtype.kind not in "fiub":
        raise ValueError(f"the result is not of shape {op.shape}")
    return found


def model_of(kind: str, ints: tuple[int, ...], data: bytes) -> bytes:
    """A serialised model of the one node, with inputs x0, x1, … and the one output."""
    import onnx
    from onnx import helper

    opset, which, results, *kinds = ints
    names = ["" if number == MISSING else f"x{i}" for i, number in enumerate(kinds)]
    outputs = [f"y{i}" if i == which else "" for i in range(results)]
    given: dict[str, Any] = {**attributes_of(data)}
    declared = [
        helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(np.dtype(KINDS[number])), None)
        for name, number in zip(names, kinds, strict=True)
        if name
    ]
    domain, _, name = kind.rpartition(".")
    if domain not in ("", RUNTIMES):
        raise ValueError(f"operators of {domain} are not known")
    node = helper.make_node(name, names, outputs, domain=domain, **given)
    graph = helper.make_graph([node], "one", declared, [onnx.ValueInfoProto(name=f"y{which}")])
    opsets = [helper.make_opsetid("", opset), helper.make_opsetid(RUNTIMES, 1)]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=8)
    return bytes(model.SerializeToString())


@lru_cache(maxsize=256)
def _session(kind: str, ints: tuple[int, ...], data: bytes) -> Any:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level, options.intra_op_num_threads = 4, 1
    model = model_of(kind, ints, data)
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])


def first_line(error: Exception) -> str:
    """What ONNX or ONNX Runtime says of an error, in one line; the error's name where it says nothing."""
    return next((line for line in str(error).splitlines() if line.strip()), type(error).__name__).strip()
