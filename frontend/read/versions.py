"""Which version of its operator a node means, and versions that mean the same.

Of opset 24 and later every operator that was there before kept its meaning on the numbers that a plan has:
types were added, and operands and attributes, which a builder that does not know them refuses. So nodes of
those opsets are evaluated as nodes of `KEPT`, which any ONNX Runtime here has.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import onnx

from ppc.frontend.read.known import OWN_DOMAINS

KEPT = 23


def since(node: onnx.NodeProto, opset: int) -> int | None:
    """The version that gave the node its meaning in that opset; None for an operator that it lacks."""
    try:
        return int(onnx.defs.get_schema(node.op_type, min(opset, KEPT), "").since_version)
    except onnx.defs.SchemaError:
        return None


def understood(
    node: onnx.NodeProto, opsets: Sequence[onnx.OperatorSetIdProto]
) -> list[onnx.OperatorSetIdProto]:
    """The opsets to evaluate a node with."""
    own = node.domain in OWN_DOMAINS and since(node, KEPT) is None
    return [
        each
        if own or each.domain not in OWN_DOMAINS
        else onnx.helper.make_opsetid("", min(each.version, KEPT))
        for each in opsets
    ]


def version_of(opsets: Iterable[onnx.OperatorSetIdProto]) -> int:
    return max((each.version for each in opsets if each.domain in OWN_DOMAINS), default=0)


def different(nodes: Iterable[onnx.NodeProto], one: int, other: int) -> list[str]:
    """The operators of ``nodes`` that do not mean the same in two opsets."""
    return sorted({each.op_type for each in _all(nodes) if since(each, one) != since(each, other)})


def _all(nodes: Iterable[onnx.NodeProto]) -> Iterator[onnx.NodeProto]:
    """Nodes of ONNX's own, those in subgraphs among them."""
    for node in nodes:
        if node.domain in OWN_DOMAINS:
            yield node
        for attribute in node.attribute:
            for graph in (attribute.g, *attribute.graphs):
                yield from _all(graph.node)
