"""Nodes whose inputs are all known are evaluated when the model is read.

After the input shapes are fixed this covers everything that exporters do with shapes, and the unpacking of
quantized weights. ONNX Runtime gives the values, so every operator and element type it knows folds.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import onnx
from onnx import helper, numpy_helper

from ppc.frontend.ir.graph import MAX_ELEMENTS
from ppc.frontend.ops.node import Unsupported
from ppc.frontend.read.known import Kept, Known, attributes, kept
from ppc.frontend.read.sandbox import evaluate
from ppc.frontend.read.worker import Array

_NOT_FOLDED = {"If", "Loop", "Scan", "RandomNormal", "RandomUniform", "RandomNormalLike", "RandomUniformLike"}
_NOT_FOLDED |= {"Bernoulli", "Multinomial", "SplitToSequence", "SequenceConstruct"}


def fold(
    node: onnx.NodeProto, inputs: Sequence[Known | None], opsets: Sequence[onnx.OperatorSetIdProto]
) -> list[Known] | None:
    """The node's outputs, None where it cannot be evaluated."""
    if node.op_type in _NOT_FOLDED:
        return None
    values = _evaluate(node, inputs, opsets)
    if values is None:
        return None
    if node.op_type == "Constant":  # of a sparse tensor, for one
        return [Known(value, kept(value)) for value in values]
    said = [kept(each) for each in attributes(node).values() if isinstance(each, np.ndarray)]
    secrecy = max([Kept.PUBLIC, *said, *_read(node, inputs)])
    return [Known(value, secrecy.of(value)) for value in values]


_STRUCTURE: dict[str, tuple[int, ...]] = {
    "ConstantOfShape": (0,), "Expand": (1,), "OneHot": (1,), "Pad": (1, 3), "Range": (0, 1, 2),
    "Reshape": (1,), "Slice": (1, 2, 3, 4), "Split": (1,), "Squeeze": (1,), "Tile": (1,),
    "Trilu": (1,), "Unsqueeze": (1,), "CumSum": (1,), "TopK": (1,),
    **{f"Reduce{name}": (1,) for name in ("Sum", "Mean", "Max", "Min", "Prod", "L1", "L2", "SumSquare")},
}  # fmt: skip
"""Operands that say where and how far, not what: shapes, axes, ends. Whole numbers there are as public as the
graph, and make no secret of what is computed."""


def _read(node: onnx.NodeProto, inputs: Sequence[Known | None]) -> Iterator[Kept]:
    """How each operand is kept, as far as that goes over to the result."""
    structure = _STRUCTURE.get(node.op_type, ())
    for i, each in enumerate(inputs):
        if each is not None:
            yield Kept.PUBLIC if i in structure and each.kept is Kept.WHOLE else each.kept


def _evaluate(
    node: onnx.NodeProto, inputs: Sequence[Known | None], opsets: Sequence[onnx.OperatorSetIdProto]
) -> list[Array] | None:
    model, feeds = _one_node(node, inputs, opsets)
    most = max([MAX_ELEMENTS, *(value.size for value in feeds.values())])
    found = evaluate(model.SerializeToString(), feeds, most)
    if isinstance(found, int):
        raise Unsupported(f"its constants say that it has {found:,} elements, more than {most:,}")
    return found  # None: the node is no constant, and is reported as unsupported by its own name


def _one_node(
    node: onnx.NodeProto, inputs: Sequence[Known | None], opsets: Sequence[onnx.OperatorSetIdProto]
) -> tuple[onnx.ModelProto, dict[str, Array]]:
    alone = onnx.NodeProto()
    alone.CopyFrom(node)
    for each in alone.attribute:
        if alone.op_type == "Cast" and each.name == "to" and each.i == onnx.TensorProto.BFLOAT16:
            each.i = onnx.TensorProto.FLOAT
    given = {
        name: known for name, known in zip(node.input, inputs, strict=True) if name and known is not None
    }
    narrow = [_narrow(name, known) for name, known in given.items() if known.element in _FOUR_BITS]
    feeds = {name: known.value for name, known in given.items() if known.element not in _FOUR_BITS}
    declared = [
        helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(value.dtype), value.shape)
        for name, value in feeds.items()
    ]
    made = [onnx.ValueInfoProto(name=name) for name in node.output if name]
    graph = helper.make_graph([alone], "one", declared, made, narrow)
    return helper.make_model(graph, opset_imports=list(opsets), ir_version=10), feeds


_FOUR_BITS = (onnx.TensorProto.INT4, onnx.TensorProto.UINT4)


def _narrow(name: str, known: Known) -> onnx.TensorProto:
    """Of elements that numpy does not have: as the model holds it, for operators that ask for that type."""
    return numpy_helper.from_array(known.value.astype(helper.tensor_dtype_to_np_dtype(known.element)), name)
