"""An ONNX file as one model in memory: its external data read, its local functions inlined."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

import onnx
from onnx import external_data_helper, inliner
from onnx.checker import ValidationError

from ppc.frontend.errors import MissingExternalData, NotOnnx
from ppc.frontend.read.damage import MOST_NODES, check_texts, written_out
from ppc.frontend.read.known import OWN_DOMAINS
from ppc.frontend.read.sandbox import convert
from ppc.frontend.read.versions import different, version_of


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
            return inliner.inline_local_functions(_of_one_opset(model))
    except NotOnnx:
        raise
    except Exception as error:  # the inliner raises what it likes
        raise NotOnnx(f"the model's local functions cannot be inlined: {error}") from None
    raise NotOnnx(f"the model's local functions come to {size:,} nodes, more than {MOST_NODES:,}")


def _of_one_opset(model: onnx.ModelProto) -> onnx.ModelProto:
    """The model with functions of its own opset, without which they are not inlined.

    The opset is the model's or, where ONNX converts to that no function of a later one, a function's in which
    the model's nodes mean the same.
    """
    opset = version_of(model.opset_import)
    others = sorted({version_of(each.opset_import) for each in model.functions} - {0, opset})
    if not others:
        return model
    refusals = []
    for wanted in (opset, *(each for each in others if not different(model.graph.node, opset, each))):
        changed = onnx.ModelProto()
        changed.CopyFrom(model)
        _import(changed.opset_import, wanted)
        try:
            for function in changed.functions:
                _to_opset(function, wanted)
        except NotOnnx as refusal:
            refusals.append(refusal)
        else:
            return changed
    raise refusals[0]


def _import(opsets: Iterable[onnx.OperatorSetIdProto], opset: int) -> None:
    for each in opsets:
        if each.domain in OWN_DOMAINS:
            each.version = opset


def _to_opset(function: onnx.FunctionProto, opset: int) -> None:
    """Its nodes as those of another opset. Raises NotOnnx where ONNX cannot convert them."""
    own = version_of(function.opset_import)
    if own in (0, opset):
        return
    if told := different(function.node, own, opset):
        graph = onnx.GraphProto(name="body", node=function.node)
        graph.input.extend(onnx.ValueInfoProto(name=name) for name in function.input)
        graph.output.extend(onnx.ValueInfoProto(name=name) for name in function.output)
        body = onnx.helper.make_model(graph, opset_imports=list(function.opset_import))
        found = convert(body.SerializeToString(), opset)
        if found is None:
            name = f"{function.domain}.{function.name}"
            raise NotOnnx(
                f"the local function {name} is of opset {own} and the model of {opset}, where "
                f"{', '.join(told)} means something else; export both with one opset"
            )
        del function.node[:]
        function.node.extend(onnx.ModelProto.FromString(found).graph.node)
    _import(function.opset_import, opset)


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
