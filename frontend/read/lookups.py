"""What is computed of every row that is looked up in a table of few bits is computed of the table.

    f(T[ids], S[ids], c)  ->  f(T, S, c)[ids]      T of integers, f of each row by itself

So an embedding that is kept in 8 or 4 bits, and unpacked behind its Gather by whatever operators, is a table
of floats. The axes of ids keep their number, with all rows on the last of them, so that f finds its axes
where they were.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import onnx

from ppc.frontend.ir import ops
from ppc.frontend.ir.graph import Op
from ppc.frontend.read.fold import fold
from ppc.frontend.read.known import Kept, Known, attributes, operator

_ELEMENTWISE = {"Cast", "Sub", "Add", "Mul", "Div", "BitShift", "BitwiseAnd", "BitwiseOr", "Mod", "Identity"}


_SHAPED = ("Reshape", "Unsqueeze")
"""What is done to scales that are floats already, to fit them to what they scale."""


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
        packed = any(each.packed for each in seen)
        if not packed and (not seen or operator(node) not in _SHAPED):
            return None
        if any(each.places is not seen[0].places for each in seen):
            return None
        if any(isinstance(x, Op) and each is None for x, each in zip(inputs, given, strict=True)):
            return None
        constants = [x for x in inputs if isinstance(x, Known)]
        places, rows = seen[0].places.type.shape, seen[0].table.value.shape[0]
        rank = len(places)
        spread = [each.spread() if each else x for x, each in zip(inputs, given, strict=True)]
        known = [each for each in spread if not isinstance(each, Op)]
        if operator(node) == "Reshape":
            shape = _shape_of_rows(seen[0], constants)
            if shape is None:
                return None
            known[1] = Known(np.array([*(1,) * (rank - 1), rows, *shape]), constants[0].kept)
        elif not _of_each_row(node, seen, constants, rank):
            return None
        made = fold(node, known, opsets)
        if made is None or made[0].value.shape[:rank] != (1,) * (rank - 1) + (rows,):
            return None
        table = Known(made[0].value.reshape(made[0].value.shape[rank - 1 :]), made[0].kept)
        self.found[node.output[0]] = LookUp(table, seen[0].places, packed)
        return None if not packed else ops.Gather(table.const(f"{node.output[0]}/table"), seen[0].places, 0)


def _of_each_row(node: onnx.NodeProto, seen: Sequence[LookUp], constants: Sequence[Known], rank: int) -> bool:
    """Whether the node computes each place's row by itself, from that row and the same constants."""
    ranks = {each.table.value.ndim + rank - 1 for each in seen}
    if len(ranks) != 1:
        return False
    (full,) = ranks
    name = operator(node)
    if name == "Concat":
        return not constants and int(str(attributes(node)["axis"])) % full >= rank
    if name == "Unsqueeze":
        axes = _numbers(constants) if constants else attributes(node).get("axes")
        return isinstance(axes, list) and all(axis % (full + len(axes)) >= rank for axis in axes)
    if name == "DequantizeLinear":
        axis = int(str(attributes(node).get("axis", 1)))
        along = axis % full >= rank
        return all(each.value.size == 1 or (each.value.ndim == 1 and along) for each in constants)
    if name not in _ELEMENTWISE:
        return False
    # counted from the last axis, as in broadcasting: 1 on every axis of the places
    return all(each.value.ndim <= full and _ones(each.value.shape, full, rank) for each in constants)


def _shape_of_rows(seen: LookUp, constants: Sequence[Known]) -> list[int] | None:
    """What a Reshape makes of each row, where it leaves the places as they are."""
    wanted, places = _numbers(constants), seen.places.type.shape
    whole = (*places, *seen.table.value.shape[1:])
    if wanted is None or len(wanted) < len(places):
        return None
    sizes = [whole[i] if n == 0 and i < len(whole) else n for i, n in enumerate(wanted)]
    if sizes.count(-1) == 1:
        rest = math.prod(n for n in sizes if n != -1)
        sizes[sizes.index(-1)] = math.prod(whole) // rest if rest else 0
    return sizes[len(places) :] if tuple(sizes[: len(places)]) == places else None


def _numbers(constants: Sequence[Known]) -> list[int] | None:
    """A shape or axes, which are as public as the graph."""
    if len(constants) != 1 or constants[0].kept > Kept.WHOLE:
        return None
    return [int(n) for n in constants[0].value.ravel()]


def _ones(shape: tuple[int, ...], full: int, rank: int) -> bool:
    whole = (1,) * (full - len(shape)) + shape
    return all(n == 1 for n in whole[:rank])
