"""Decoders merged as optimum merges them: one `If` on `use_cache_branch`, whose branches share weights."""

from __future__ import annotations

import onnx
from onnx import TensorProto, helper


def without_past(model: onnx.ModelProto) -> onnx.ModelProto:
    """The decoder for first tokens: it takes no cache, and its rows are the new ones alone."""
    first = onnx.ModelProto()
    first.CopyFrom(model)
    caches = {each.name for each in first.graph.input if each.name.startswith("past_key_values")}
    for i, node in enumerate(first.graph.node):
        if node.op_type == "Concat" and node.input[0] in caches:
            first.graph.node[i].CopyFrom(helper.make_node("Identity", node.input[1:], node.output, node.name))
    for each in [*first.graph.input]:
        if each.name in caches:
            first.graph.input.remove(each)
        elif each.name == "attention_mask":
            each.type.tensor_type.shape.dim[1].dim_param = "sequence_length"
    return first


def merged(
    first: onnx.ModelProto, further: onnx.ModelProto, mask: str = "sequence_length"
) -> onnx.ModelProto:
    """``first`` and ``further``, the one with past; ``mask`` is what the axis of the mask is called.

    Weights lie outside, shared by both, and small ones and integers in the branches.
    """

    def inner(tensor: onnx.TensorProto) -> bool:
        return not tensor.dims or (len(tensor.dims) == 1 and tensor.data_type == TensorProto.INT64)

    branches = [
        helper.make_graph(
            each.graph.node, name, [], each.graph.output, [t for t in each.graph.initializer if inner(t)]
        )
        for name, each in (("no_past", first), ("with_past", further))
    ]
    inputs = {each.name: each for model in (further, first) for each in model.graph.input}
    inputs["attention_mask"].type.tensor_type.shape.dim[1].dim_param = mask
    weights = {each.name: each for model in (first, further) for each in model.graph.initializer}
    outputs = first.graph.output
    graph = helper.make_graph(
        [
            helper.make_node(
                "If", ["use_cache_branch"], [each.name for each in outputs], "optimum::if",
                then_branch=branches[1], else_branch=branches[0],
            )
        ],
        "merged",
        [*inputs.values(), helper.make_tensor_value_info("use_cache_branch", TensorProto.BOOL, [1])],
        outputs,
        [each for each in weights.values() if not inner(each)],
    )  # fmt: skip
    return helper.make_model(graph, opset_imports=first.opset_import, ir_version=first.ir_version)
