"""An ONNX file as one model in memory: its external data read, its local functions inlined."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import onnx
from onnx import external_data_helper, inliner
from onnx.checker import ValidationError

from ppc.frontend.errors import MissingExternalData, NotOnnx
from ppc.frontend.read.damage import MOST_NODES, check_texts, written_out


def read_model(path_or_model: str | Path | onnx.ModelProto) -> onnx.ModelProto:
    """The model with its external data in memory and its local functions inlined."""
    if isinstance(path_or_model, onnx.ModelProto):
        model, base = path_or_model, None
    else:
        base = Path(path_or_model).parent
        model = _parse(Path(path_or_model))
    _load_external(model, base)
    whole = _inlined(model) if model.functions else model
    check_texts(whole.graph)
    return whole


def _inlined(model: onnx.ModelProto) -> onnx.ModelProto:
    try:
        size = written_out(model)
        if size <= MOST_NODES:
            try:
                return inliner.inline_local_functions(model, convert_version=True)
            except Exception:  # a function of another opset that ONNX cannot convert stays, and is named
                return inliner.inline_local_functions(model)
    except Exception as error:  # the inliner raises what it likes
        raise NotOnnx(f"the model's local functions cannot be inlined: {error}") from None
    raise NotOnnx(f"the model's local functions come to {size:,} nodes, more than {MOST_NODES:,}")


def _parse(path: Path) -> onnx.ModelProto:
    try:
        model = onnx.load(str(path), load_external_data=False)
    except OSError as error:
        raise NotOnnx(f"{path}: {error.strerror or error}") from None
    except Exception as error:  # by the file's ending one of several parsers, each with errors of its own
        raise NotOnnx(f"{path} is not an ONNX model, or cut short: {error}; fetch it again") from None
    if not model.ir_version or not model.graph.output:
        raise NotOnnx(f"{path} is not an ONNX model: it has no graph with an output")
    return model


def _load_external(model: onnx.ModelProto, base: Path | None) -> None:
    for tensor in _tensors(model.graph):
        if not external_data_helper.uses_external_data(tensor):
            continue
        for each in tensor.external_data:
            if not isinstance(each.key, str) or not isinstance(each.value, str):
                raise NotOnnx(f"where the weights of {tensor.name!r} are kept is no text: {each.value!r}")
        where = next((each.value for each in tensor.external_data if each.key == "location"), "")
        try:
            if base is None or not (base / where).is_file():
                raise MissingExternalData(tensor.name, str(base / where) if base else where)
            external_data_helper.load_external_data_for_tensor(tensor, str(base))
        except (OSError, ValueError, ValidationError) as error:
            raise NotOnnx(f"the weights of {tensor.name}, kept in {where or 'no file'}: {error}") from None
        tensor.data_location = onnx.TensorProto.DEFAULT
        del tensor.external_data[:]


def _tensors(graph: onnx.GraphProto) -> Iterator[onnx.TensorProto]:
    """Initializers, and tensors in attributes, of the graph and those within."""
    yield from graph.initializer
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.HasField("t"):
                yield attribute.t
            yield from attribute.tensors
            for inner in (attribute.g, *attribute.graphs):
                yield from _tensors(inner)
