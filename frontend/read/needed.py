"""What of a model has to be read: the outputs worth having, and the nodes that they are made of."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import onnx


def not_stray(model: onnx.ModelProto, outputs: Sequence[str]) -> list[str]:
    """Outputs that are made from a weight by more than its shape; all of them where none is."""
    weighty = {each.name for each in model.graph.initializer}
    for node in model.graph.node:
        if node.op_type not in ("Shape", "Size") and (_reads(node) & weighty):
            weighty |= {name for name in node.output if name}
    return [name for name in outputs if name in weighty] or list(outputs)


def _reads(node: onnx.NodeProto) -> set[str]:
    """The names a node reads, those its subgraphs read from outside among them."""
    names = {name for name in node.input if name}
    for attribute in node.attribute:
        for graph in (attribute.g, *attribute.graphs):
            for inner in graph.node:
                names |= _reads(inner)
            names |= {each.name for each in graph.output}
    return names


def label(node: onnx.NodeProto) -> str:
    """What a user may know a node by: its name, or what it makes."""
    return node.name or next((name for name in node.output if name), "")


def nodes_of(graph: onnx.GraphProto, output: str) -> frozenset[str]:
    """The nodes that an output is made of by their labels, those of branches among them."""
    return frozenset(
        name
        for i in needed(graph.node, (output,))
        for name in (label(graph.node[i]), *_within(graph.node[i]))
    )


def _within(node: onnx.NodeProto) -> Iterator[str]:
    for attribute in node.attribute:
        for graph in (attribute.g, *attribute.graphs):
            for inner in graph.node:
                yield label(inner)
                yield from _within(inner)


def needed(nodes: Sequence[onnx.NodeProto], outputs: Sequence[str]) -> set[int]:
    """Indices of the nodes that the outputs are made of."""
    wanted = set(outputs)
    found = set()
    for i in reversed(range(len(nodes))):
        if wanted & set(nodes[i].output):
            found.add(i)
            wanted |= _reads(nodes[i])
    return found


def read_by(nodes: Sequence[onnx.NodeProto], wanted: set[int]) -> set[str]:
    """The names of all that these nodes read."""
    return {name for i in wanted for name in _reads(nodes[i])}
