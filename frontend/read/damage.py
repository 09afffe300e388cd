"""Names that are no text, nodes that are not what their operator's definition says: the fault in words."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import onnx
from onnx import checker

from ppc.frontend.errors import NotOnnx
from ppc.runtime.base.onnx_node import first_line

DAMAGE = (
    TypeError,
    ValueError,
    AttributeError,
    IndexError,
    KeyError,
    ArithmeticError,
    AssertionError,
    RuntimeError,
)
"""What Python raises over inputs that are missing and attributes of another type."""


_TERM = r"[A-Za-z]*(\.\.\.[A-Za-z]*)?"
_EQUATION = re.compile(rf"{_TERM}(,{_TERM})*(->{_TERM})?")


def check_texts(graph: onnx.GraphProto) -> None:
    """Raises NotOnnx for a name that is no text, or an equation that ONNX's shape inference never ends."""
    for name in (each.name for each in (*graph.initializer, *graph.input, *graph.output)):
        _check_text(name, "a tensor")
    for value in graph.input:
        for axis in value.type.tensor_type.shape.dim:
            _check_text(axis.dim_param, f"an axis of the input {value.name}")
    for node in graph.node:
        for name in (node.name, node.op_type, node.domain, *node.input, *node.output):
            _check_text(name, f"a name of the node {node.name!r}")
        for attribute in node.attribute:
            _check_text(attribute.name, f"an attribute of the node {node.name!r}")
            if node.op_type == "Einsum" and attribute.name == "equation":
                _check_equation(node, attribute.s)
            for inner in (attribute.g, *attribute.graphs):
                check_texts(inner)


def _check_text(name: str | bytes, what: str) -> None:
    if isinstance(name, bytes) or "\0" in name:  # protobuf gives bytes where they are not UTF-8
        raise NotOnnx(f"{what} has a name that is no text: {name!r}")


def _check_equation(node: onnx.NodeProto, equation: bytes) -> None:
    text = equation.decode("ascii", "replace").replace(" ", "")
    if not _EQUATION.fullmatch(text):
        raise NotOnnx(f"node {node.name}: Einsum has no equation {text!r}")


MOST_NODES = 1_000_000
"""Of a model whose local functions are written out."""


def written_out(model: onnx.ModelProto) -> int:
    """Nodes when every call of a local function is the function's nodes: functions that call each other twice
    double them each time."""
    bodies = {(each.domain, each.name): each.node for each in model.functions}
    sizes: dict[tuple[str, str], int] = {}

    def size(nodes: Iterable[onnx.NodeProto]) -> int:
        total = 0
        for node in nodes:
            called = (node.domain, node.op_type)
            if called in bodies and called not in sizes:
                sizes[called] = 0  # what calls itself is for the inliner to refuse
                sizes[called] = size(bodies[called])
            total += sizes.get(called, 1)
            for attribute in node.attribute:
                total += sum(size(graph.node) for graph in (attribute.g, *attribute.graphs))
        return total

    return size(model.graph.node)


def check_attributes(node: onnx.NodeProto, opset: int) -> None:
    """Raises TypeError for an attribute of another type than its operator's: 1.0 is no axis, nor is "1"."""
    try:
        known: Mapping[str, Any] = onnx.defs.get_schema(node.op_type, opset, node.domain).attributes
    except onnx.defs.SchemaError:  # not an operator of ONNX's own
        return
    for each in node.attribute:
        if each.name in known and known[each.name].type != _kind_of(each):
            raise TypeError(f"{each.name} is of another type, {_kind_of(each)}")


def _kind_of(attribute: onnx.AttributeProto) -> object:
    name = onnx.AttributeProto.AttributeType.Name(attribute.type)
    return getattr(onnx.defs.OpSchema.AttrType, name, name)


def ill_formed(node: onnx.NodeProto, error: Exception, opsets: Sequence[onnx.OperatorSetIdProto]) -> str:
    """The reason in words: ONNX's own, where its checker has one."""
    context = checker.C.CheckerContext()
    context.ir_version = onnx.IR_VERSION
    try:
        context.opset_imports = {each.domain: each.version for each in opsets}
        checker.check_node(node, context)
    except Exception as reason:  # the checker raises what it likes
        return f"it is ill-formed: {first_line(reason)}"
    return f"its inputs or attributes are not what its operator takes ({type(error).__name__}: {error})"
