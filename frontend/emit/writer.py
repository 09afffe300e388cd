"""What the rules of `emit` write with: nodes, initializers, and names not yet taken."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx
from numpy.typing import ArrayLike, DTypeLike, NDArray
from onnx import helper, numpy_helper

from ppc.frontend.ir import ops
from ppc.frontend.ir.graph import BOOL, FLOAT, INT, Graph, IRError, Num, Op
from ppc.frontend.ops.kinds import TYPES

OPSET = 17

Final = tuple[str, list[str], Mapping[str, object]]
"""The node whose output is the op's value: operator, inputs, attributes."""

_DTYPES: dict[Num, DTypeLike] = {FLOAT: np.float32, INT: np.int64, BOOL: np.bool_}


def num_of(op: Op) -> Num:
    """Its kind of number. Raises IRError for what ONNX has none for."""
    if op.type.num not in TYPES:
        raise IRError(f"{op!r}: ONNX has no {op.type.num}")
    return op.type.num


@dataclass
class Writer:
    """Nodes as they are written. ``at`` names the tensor of each op."""

    graph: Graph
    nodes: list[onnx.NodeProto] = field(default_factory=list)
    initializers: list[onnx.TensorProto] = field(default_factory=list)
    at: dict[Op, str] = field(default_factory=dict)
    taken: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.results = {op: name for name, op in reversed(self.graph.outputs.items())}
        self.taken |= {each.name for each in self.graph.inputs} | set(self.graph.outputs)

    def fresh(self, wanted: str) -> str:
        """A name not yet taken."""
        name, n = wanted, 1
        while name in self.taken:
            n += 1
            name = f"{wanted}.{n}"
        self.taken.add(name)
        return name

    def add(self, kind: str, inputs: list[str], name: str, **attributes: object) -> str:
        self._append(kind, inputs, [name], attributes)
        return name

    def node(self, kind: str, *inputs: str, outputs: int = 1, **attributes: object) -> str:
        """An inner node; outputs after the first are called :1, :2, …"""
        name = self.fresh(kind)
        names = [name, *(f"{name}:{i}" for i in range(1, outputs))]
        self._append(kind, inputs, names, attributes)
        return name

    def _append(
        self, kind: str, inputs: Sequence[str], outputs: Sequence[str], attributes: Mapping[str, object]
    ) -> None:
        """Named as its first output is."""
        node = helper.make_node(kind, inputs, outputs, name=outputs[0])
        node.attribute.extend(helper.make_attribute(key, value) for key, value in sorted(attributes.items()))
        self.nodes.append(node)

    def kept(self, value: NDArray[Any], wanted: str) -> str:
        """An initializer."""
        name = self.fresh(wanted)
        self.initializers.append(numpy_helper.from_array(np.array(value, order="C"), name))
        return name

    def number(self, value: ArrayLike, num: Num = FLOAT) -> str:
        """A public number, as a Constant node."""
        tensor = numpy_helper.from_array(np.asarray(value, _DTYPES[num]))
        return self.node("Constant", value=tensor)

    def integers(self, values: tuple[int, ...]) -> str:
        return self.kept(np.array(values, np.int64), "integers")

    def constant(self, op: ops.Const) -> str:
        """The loader tells by the numbers what is public, of a tensor of one number by that number."""
        with np.errstate(over="ignore"):  # a mask of −10³⁹ is −∞ in single precision
            value = op.value.astype(_DTYPES[num_of(op)])
        if op.secret or value.dtype != np.float32 or not value.size or np.any(value != value.flat[0]):
            return self.kept(value, op.name or "constant")
        if value.size == 1:
            return self.number(value)
        tensor = numpy_helper.from_array(value.reshape(-1)[:1])
        return self.node("ConstantOfShape", self.integers(value.shape), value=tensor)

    def of(self, op: Op, num: Num) -> str:
        """The operand as another kind of number."""
        return self.at[op] if op.type.num == num else self.node("Cast", self.at[op], to=TYPES[num])
