"""Sequences of tensors, as far as their lengths and the places read are known: they are their members."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx

from ppc.frontend.ir import ops
from ppc.frontend.ir.graph import Op
from ppc.frontend.ops.node import Unsupported, axes_of, integer, integers
from ppc.frontend.ops.structure import reshaped, sliced
from ppc.frontend.read.known import OWN_DOMAINS, Kept, Known, attributes

Value = Op | Known | None

MOST = 4096
"""Members of a sequence."""


class Sequences:
    """The members of each sequence, by its name, as far as a model is read."""

    def __init__(self) -> None:
        self.members: dict[str, list[Op | Known]] = {}

    def meaning(self, node: onnx.NodeProto, inputs: Sequence[Value]) -> list[Value] | None:
        """What a node makes that makes a sequence, or takes one apart; None where it does neither."""
        unknown = any(
            value is None and name and name not in self.members
            for name, value in zip(node.input, inputs, strict=True)
        )
        if node.domain not in OWN_DOMAINS or unknown:
            return None
        match node.op_type:
            case "SplitToSequence":
                self.members[node.output[0]] = _split(node, inputs)
                return [None]
            case "SequenceConstruct":
                self.members[node.output[0]] = [each for each in inputs if each is not None]
                return [None]
        members = [self.members[name] for name in node.input if name in self.members]
        if not members:
            return None
        match node.op_type:
            case "SequenceAt":
                place = integer(_operand(inputs[1]), "the place in a sequence")
                if not -len(members[0]) <= place < len(members[0]):
                    raise Unsupported(f"reads place {place} of {len(members[0])}")
                return [members[0][place]]
            case "SequenceLength":
                return [Known(np.asarray(len(members[0]), np.int64), Kept.PUBLIC)]
            case "ConcatFromSequence":
                return [_concat(node, members[0])]
        raise Unsupported("reads a sequence of tensors, which only SequenceAt and ConcatFromSequence take")


def _operand(value: Value) -> Op | None:
    return value.const("") if isinstance(value, Known) else value


def _shape(x: Op | Known) -> tuple[int, ...]:
    return x.value.shape if isinstance(x, Known) else x.type.shape


def _split(node: onnx.NodeProto, inputs: Sequence[Value]) -> list[Op | Known]:
    x, said = inputs[0], attributes(node)
    if x is None:
        raise Unsupported("splits nothing")
    shape = _shape(x)
    (axis,) = axes_of(len(shape), (int(str(said.get("axis", 0))),))
    n = shape[axis]
    squeezed = False
    if len(inputs) < 2 or inputs[1] is None:
        sizes: Sequence[int] = _sizes(1, n)
        squeezed = not int(str(said.get("keepdims", 1)))
    else:
        sizes = integers(_operand(inputs[1]), "the sizes")
        if not _shape(inputs[1]):
            sizes = _sizes(sizes[0], n)
    if sum(sizes) != n or min(sizes, default=0) < 0:
        raise Unsupported(f"splits {n} into {list(sizes)}")
    parts, start = [], 0
    for size in sizes:
        parts.append(_part(x, axis, start, start + size, squeezed))
        start += size
    return parts


def _sizes(each: int, n: int) -> list[int]:
    """n in parts of one size, the last what is left."""
    if each < 1 or n > each * MOST:
        raise Unsupported(f"splits {n:,} into parts of {each}; at most {MOST:,} are taken")
    return [min(each, n - start) for start in range(0, n, each)]


def _part(x: Op | Known, axis: int, start: int, end: int, squeezed: bool) -> Op | Known:
    shape = _shape(x)
    left = shape[:axis] + shape[axis + 1 :]
    if isinstance(x, Known):
        part = np.take(x.value, range(start, end), axis)
        return Known(part.reshape(left) if squeezed else part, x.kept, x.element)
    cut = sliced(x, (start,), (end,), (axis,), (1,))
    return reshaped(cut, left) if squeezed else cut


def _concat(node: onnx.NodeProto, members: Sequence[Op | Known]) -> Value:
    said = attributes(node)
    new = int(str(said.get("new_axis", 0)))
    (axis,) = axes_of(len(_shape(members[0])) + new, (int(str(said["axis"])),))
    if all(isinstance(each, Known) for each in members):
        held = [each for each in members if isinstance(each, Known)]
        join = np.stack if new else np.concatenate
        return Known(join([each.value for each in held], axis), max(each.kept for each in held))
    parts = [each.const("") if isinstance(each, Known) else each for each in members]
    if new:
        parts = [reshaped(x, (*x.type.shape[:axis], 1, *x.type.shape[axis:])) for x in parts]
    return parts[0] if len(parts) == 1 else ops.Concat(tuple(parts), axis)
