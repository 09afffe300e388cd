"""A node that is not what its operator's definition says trips its builder: what is wrong with it, in words."""

from __future__ import annotations

import re
from collections.abc import Sequence

import onnx
from onnx import checker

from ppc.frontend.errors import NotOnnx

DAMAGE = (TypeError, ValueError, AttributeError, IndexError, KeyError, ArithmeticError, AssertionError)
"""What Python raises over inputs that are missing and attributes of another type."""


_TERM = r"[A-Za-z]*(\.\.\.[A-Za-z]*)?"
_EQUATION = re.compile(rf"{_TERM}(,{_TERM})*(->{_TERM})?")


def check_texts(graph: onnx.GraphProto) -> None:
    """Raises NotOnnx for a name that is no text, and an equation that ONNX's shape inference never comes to the
    end of."""
    for name in (each.name for each in (*graph.initializer, *graph.input, *graph.output)):
        _check_text(name, "a tensor")
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


def ill_formed(node: onnx.NodeProto, error: Exception, opsets: Sequence[onnx.OperatorSetIdProto]) -> str:
    """The reason in words: ONNX's own, where its checker has one."""
    context = checker.C.CheckerContext()
    context.ir_version = onnx.IR_VERSION
    try:
        context.opset_imports = {each.domain: each.version for each in opsets}
        checker.check_node(node, context)
    except Exception as reason:  # the checker raises what it likes
        first = next((line for line in str(reason).splitlines() if line.strip()), type(reason).__name__)
        return f"it is ill-formed: {first.strip()}"
    return f"its inputs or attributes are not what its operator takes ({type(error).__name__}: {error})"
