"""The client's own part of a graph, as records that its machine runs without ONNX."""

from __future__ import annotations

from typing import get_args

from ppc.frontend.ir import ops
from ppc.frontend.ir.graph import INT, BoolType, Input, IntType, Op
from ppc.runtime.base.function import AnyFunction, Plain, Reshape
from ppc.runtime.base.meaning import PLAIN
from ppc.runtime.plan import local
from ppc.runtime.plan.local import LocalOp

RECORDS: dict[str, type[AnyFunction]] = {each.__name__: each for each in get_args(AnyFunction)}

MAX_WRITTEN = 64
"""Elements up to which a constant is written as numbers; larger ones are packed."""

MAX_PUBLIC = 2**20
"""Elements of a public constant that the client's part may hold: masks and positions, not tables."""


class NotLocal(ValueError):
    """An op that the client's table has no function for."""


def local_op(op: Op, args: tuple[int, ...]) -> LocalOp:
    """The record of ``op`` whose operands are the local values ``args``."""
    match op:
        case Input():
            return local.Input(op.name)
        case ops.Const() if not op.secret and op.value.size <= MAX_PUBLIC:
            return _constant(op)
    return local.Apply(_function(op), args)


def _function(op: Op) -> AnyFunction:
    """That of the op's own name, but where kinds of numbers differ: the client has reals alone."""
    name = type(op).__name__
    match op:
        case ops.Clear():
            return op.function
        case ops.Div() if op.type.num == INT:
            return Plain("Quotient")
        case ops.Cast(to=IntType()):
            return Plain("Truncate")
        case ops.Cast(to=BoolType()):
            return Plain("Boolean")
        case ops.Cast():
            return Reshape(op.type.shape)
    if name in PLAIN:
        return Plain(name)
    if name in RECORDS:
        record = RECORDS[name]
        return record(**{field: getattr(op, field) for field in record.__struct_fields__})
    raise NotLocal(f"{name} {op.name or '(unnamed)'} belongs to the client, who has no function for it")


def _constant(op: ops.Const) -> LocalOp:
    if op.value.size > MAX_WRITTEN:
        return local.packed(op.value)
    return local.Const(op.type.shape, tuple(float(v) for v in op.value.ravel()))


def cuts(op: ops.Slice) -> tuple[tuple[int, int, int], ...]:
    """(start, stop, step) for every axis."""
    return tuple((each.start, each.stop, each.step) for each in op.places())
