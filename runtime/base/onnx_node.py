"""One ONNX operator on what a party knows alone, by ONNX Runtime: for those that `clear` has no function for.

A plan may come from a stranger, so a node is built here from a name and plain attributes – no tensors, files,
subgraphs or operators but ONNX's and ONNX Runtime's own. `onnx` and `onnxruntime` are imported once such a
node is met; no other plan needs them.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .extras import needs
from .function import Kind, Onnx

Array = NDArray[Any]
RUNTIMES = "com.microsoft"
"""The domain of ONNX Runtime's own operators, written before their names."""

KINDS: dict[Kind, type[np.generic]] = {"float": np.float32, "int": np.int64, "bool": np.bool_}
"""What operands are cast to."""


def can_run(node: Onnx) -> None:
    """NotInstalled where nothing here runs it."""
    needs("compile", f"{node.operator!r} at the client", "onnx", "onnxruntime")


def run_node(node: Onnx, *xs: Array) -> Array:
    """The result ``node`` asks for. Raises ValueError where it cannot be had, or has another shape."""
    kinds = {f"x{i}": KINDS[kind] for i, kind in enumerate(node.kinds) if kind is not None}
    if len(kinds) != len(xs):
        raise ValueError(f"{len(xs)} operands where {len(kinds)} are described")
    feeds = {name: x.astype(kind) for (name, kind), x in zip(kinds.items(), xs, strict=True)}
    can_run(node)
    try:
        (found,) = _session(node).run(None, feeds)
    except Exception as error:  # ONNX Runtime has classes of its own, which are not ours to import
        raise ValueError(first_line(error)) from None
    if not isinstance(found, np.ndarray) or found.shape != node.shape or found.dtype.kind not in "fiub":
        raise ValueError(f"the result is not of shape {node.shape}")
    return found


def model_of(node: Onnx) -> bytes:
    """A serialised model of the one node, with inputs x0, x1, … and the one output."""
    import onnx
    from onnx import helper

    names = ["" if kind is None else f"x{i}" for i, kind in enumerate(node.kinds)]
    outputs = [f"y{i}" for i in range(node.results)]  # some operators must give all
    declared = [
        helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(np.dtype(KINDS[kind])), None)
        for name, kind in zip(names, node.kinds, strict=True)
        if kind is not None
    ]
    domain, _, name = node.operator.rpartition(".")
    if domain not in ("", RUNTIMES):
        raise ValueError(f"operators of {domain} are not known")
    given: dict[str, Any] = dict(node.attributes)
    made = helper.make_node(name, names, outputs, domain=domain, **given)
    graph = helper.make_graph([made], "one", declared, [onnx.ValueInfoProto(name=f"y{node.result}")])
    opsets = [helper.make_opsetid("", node.opset), helper.make_opsetid(RUNTIMES, 1)]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=8)
    return bytes(model.SerializeToString())


@lru_cache(maxsize=256)
def _session(node: Onnx) -> Any:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level, options.intra_op_num_threads = 4, 1
    return onnxruntime.InferenceSession(model_of(node), options, providers=["CPUExecutionProvider"])


def first_line(error: Exception) -> str:
    """What ONNX or ONNX Runtime says of an error, in one line; the error's name where it says nothing."""
    return next((line for line in str(error).splitlines() if line.strip()), type(error).__name__).strip()
