"""IR -> ONNX: a graph of plain functions as a model that any runtime runs and the compiler takes again.

Opset 17, in single precision. What is secret is so for the loader too; of what is public the numbers of
formulas stay public, and any other, an attribute's for one, becomes the server's. Functions that ONNX lacks
(GELU, SiLU, RMSNorm) are written in pieces, which the compiler recognises. What only two parties compute
with, splines and the like, is refused.
"""

from __future__ import annotations

from pathlib import Path

import onnx
from onnx import helper

from ppc.frontend.emit.rules import RULES
from ppc.frontend.emit.writer import OPSET, Writer, num_of
from ppc.frontend.ir import ops
from ppc.frontend.ir.graph import Graph, Input, IRError, Op, walk
from ppc.frontend.ops.kinds import TYPES
from ppc.runtime.base.files import whole

IR_VERSION = 8
LARGEST_FILE = 1 << 30
"""Bytes of weights beyond which they are kept in a file of their own; protobuf ends at twice that."""


def emit(graph: Graph) -> onnx.ModelProto:
    """The graph as a model; tensors keep the names of the ops. Raises IRError for an op that ONNX lacks."""
    writer = Writer(graph)
    for op in walk(graph):
        _write(writer, op)
    for name, op in graph.outputs.items():
        if writer.at[op] != name:
            writer.nodes.append(helper.make_node("Identity", [writer.at[op]], [name], name=name))
    made = helper.make_graph(
        writer.nodes,
        graph.name or "graph",
        [_declared(each.name, each) for each in graph.inputs],
        [_declared(name, op) for name, op in graph.outputs.items()],
        writer.initializers,
    )
    model = helper.make_model(made, opset_imports=[helper.make_opsetid("", OPSET)], producer_name="ppc")
    model.ir_version = IR_VERSION
    return model


def save(graph: Graph, path: Path) -> None:
    """Write `emit`'s model, with the weights in ``<path>.data`` where one file would be too large."""
    model = emit(graph)
    large = sum(len(t.raw_data) for t in model.graph.initializer) > LARGEST_FILE
    data = path.name + ".data"
    if large:  # onnx appends to what is there
        path.with_name(data).unlink(missing_ok=True)
    with whole(path) as part:
        onnx.save(model, str(part), save_as_external_data=large, location=data if large else None)


def _write(w: Writer, op: Op) -> None:
    if isinstance(op, Input):
        w.at[op] = op.name
    elif isinstance(op, ops.Const):
        w.at[op] = w.constant(op)
    else:
        rule = RULES.get(type(op))
        if rule is None:
            raise IRError(f"{op!r}: ONNX has no {type(op).__name__}")
        kind, inputs, attributes = rule(w, op)
        name = w.results.get(op) or w.fresh(op.name or kind)
        w.at[op] = w.add(kind, inputs, name, **attributes)


def _declared(name: str, op: Op) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, TYPES[num_of(op)], op.type.shape)
