"""What is computed of every row that is looked up in a table of few bits is computed of the table.

    f(T[ids], S[ids], c)  ->  f(T, S, c)[ids]      T of integers, f of each row by itself

So an embedding that is kept in 8 or 4 bits, and unpacked behind its Gather by whatever operators, is a table
of floats. The axes of ids keep their number, with all rows on the last of them, so that f finds its axes
where they were.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import onnx

from ppc.frontend.ir import ops
from ppc.frontend.ir.graph import Op
from ppc.frontend.read.fold import fold
from ppc.frontend.read.known import Known, attributes, operator

_ELEMENTWISE = {"Cast", "Sub", "Add", "Mul", "Div", "BitShift", "BitwiseAnd", "BitwiseOr", "Mod", "Identity"}


@dataclass(frozen=True)
class LookUp:
    """Rows of a table at places that are not known. ``packed``: the table comes of integers in few bits."""

    table: Known
    places: Op
    packed: bool

    def spread(self) -> Known:
        """The table with its rows where the last axis of the places was."""
        outer = (1,) * (self.places.type.rank - 1)
        return Known(
            self.table.value.reshape(outer + self.table.value.shape), self.table.kept, self.table.element
        )


class LookUps:
    """The tensors that are look-ups, by name, as far as a model is read."""

    def __init__(self) -> None:
        self.found: dict[str, LookUp] = {}

    def gathered(self, node: onnx.NodeProto, inputs: Sequence[Op | Known | None]) -> None:
        """Remembers a Gather of rows."""
        if operator(node) != "Gather" or len(inputs) != 2 or attributes(node).get("axis", 0) != 0:
            return
        table, places = inputs
        if isinstance(table, Known) and table.value.ndim and isinstance(places, Op) and places.type.rank:
            packed = table.value.dtype in (np.int8, np.uint8)
            self.found[node.output[0]] = LookUp(table, places, packed)

    def moved(
        self,
        node: onnx.NodeProto,
        inputs: Sequence[Op | Known | None],
        opsets: Sequence[onnx.OperatorSetIdProto],
    ) -> Op | None:
        """The node's output as a look-up in what it makes of the table, or None where it is none."""
        given = [self.found.get(name) for name in node.input]
        seen = [each for each in given if each is not None]
        if not any(each.packed for each in seen) or any(each.places is not seen[0].places for each in seen):
            return None
        if any(isinstance(x, Op) and each is None for x, each in zip(inputs, given, strict=True)):
            return None
        constants = [x for x in inputs if isinstance(x, Known)]
        rank = seen[0].places.type.rank
        if not _of_each_row(node, seen, constants, rank):
            return None
        spread = [each.spread() if each else x for x, each in zip(inputs, given, strict=True)]
        made = fold(node, [each for each in spread if not isinstance(each, Op)], opsets)
        rows = seen[0].table.value.shape[0]
        if made is None or made[0].value.shape[:rank] != (1,) * (rank - 1) + (rows,):
            return None
        table = Known(made[0].value.reshape(made[0].value.shape[rank - 1 :]), made[0].kept)
        if not any(each.table.value.shape[0] == rows for each in seen):
            return None
        self.found[node.output[0]] = LookUp(table, seen[0].places, packed=True)
        return ops.Gather(table.const(f"{node.output[0]}/table"), seen[0].places, 0)


def _of_each_row(node: onnx.NodeProto, seen: Sequence[LookUp], constants: Sequence[Known], rank: int) -> bool:
    """Whether the node computes each place's row by itself, from that row and the same constants."""
    ranks = {each.table.value.ndim + rank - 1 for each in seen}
    if len(ranks) != 1:
        return False
    (full,) = ranks
    name = operator(node)
    if name == "DequantizeLinear":
        axis = int(str(attributes(node).get("axis", 1)))
        along = axis % full >= rank
        return all(each.value.size == 1 or (each.value.ndim == 1 and along) for each in constants)
    if name not in _ELEMENTWISE:
        return False
    # counted from the last axis, as in broadcasting: 1 on every axis of the places
    return all(each.value.ndim <= full and _ones(each.value.shape, full, rank) for each in constants)


def _ones(shape: tuple[int, ...], full: int, rank: int) -> bool:
    whole = (1,) * (full - len(shape)) + shape
    return all(n == 1 for n in whole[:rank])
