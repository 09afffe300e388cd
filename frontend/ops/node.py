"""What a function that builds IR for a node has in hand."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar, cast

import numpy as np

from ppc.frontend.ir.graph import BOOL, INT, Num, Op
from ppc.frontend.ir.ops import Const

T = TypeVar("T")


class Unsupported(Exception):
    """Why this node cannot be compiled, and what to do; the loader adds which node it is."""


@dataclass(frozen=True)
class Node:
    """A node without its inputs."""

    op_type: str
    opset: int
    attributes: Mapping[str, object]
    """Each of the type that the operator's schema says."""

    outputs: tuple[str, ...]

    def get(self, key: str, default: T) -> T:
        return cast("T", self.attributes.get(key, default))

    def find(self, key: str, kind: type[T]) -> T | None:
        """An attribute without a default, where the node has it."""
        return cast("T | None", self.attributes.get(key))


def number(value: float) -> Const:
    """A public number of a formula."""
    return Const(np.asarray(value, np.float64))


def like(value: float, num: Num) -> Const:
    """A public number of the kind that ``num`` is."""
    if num == INT:
        return Const(np.asarray(value, np.int64))
    return Const(np.asarray(value, np.bool_)) if num == BOOL else number(value)


def axis_of(x: Op, axis: int) -> int:
    """An axis of x, from 0, which the node counts from either end."""
    return axes_of(x.type.rank, (axis,))[0]


def axes_of(rank: int, axes: Sequence[int]) -> tuple[int, ...]:
    """Several of a tensor of that rank, in the order given."""
    if any(not -rank <= axis < rank for axis in axes):
        raise Unsupported(f"names the axes {list(axes)} of a tensor of rank {rank}")
    found = tuple(axis % rank for axis in axes)
    if len(set(found)) != len(found):
        raise Unsupported(f"names an axis twice: {list(axes)} of a tensor of rank {rank}")
    return found


def integers(op: Op | None, what: str) -> tuple[int, ...]:
    """The value of an operand that has to be known when compiling, and is as public as the graph: axes, a
    shape, ends of a slice."""
    if not isinstance(op, Const):
        raise Unsupported(f"{what} must not depend on the input's values; fix the model's shapes")
    check_open(op, what)
    return tuple(int(n) for n in op.value.ravel().tolist())


def check_open(op: Const, what: str) -> None:
    """Raises Unsupported for a part of the graph that would tell what a weight is."""
    if op.secret and not op.may_open:
        raise Unsupported(f"{what} must not depend on a weight's values; they would be public")


def integer(op: Op | None, what: str) -> int:
    values = integers(op, what)
    if len(values) != 1:
        raise Unsupported(f"{what} must be one number, not {len(values)}")
    return values[0]
