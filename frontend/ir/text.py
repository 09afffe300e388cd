"""The IR as text, one line an op: ``%3 = MatMul(%1, %2) : f32[1,32,384]  # name``. Weights are not shown."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ppc.frontend.ir.graph import Graph, Input, Op, walk
from ppc.frontend.ir.ops import Const

_SHOWN = 8
"""Public constants up to this many elements are printed."""


def show(graph: Graph, *, names: bool = True) -> str:
    """The whole graph; numbering depends on nothing but the graph. ``names=False`` leaves comments out."""
    number = {op: f"%{i}" for i, op in enumerate(walk(graph))}
    lines = [_line(op, number, names) for op in number]
    results = ", ".join(f"{name}={number[op]}" for name, op in graph.outputs.items())
    return "\n".join([*lines, f"return {results}"]) + "\n"


def _line(op: Op, number: dict[Op, str], names: bool) -> str:
    comment = f"  # {op.name}" if names and op.name and not isinstance(op, Input) else ""
    return f"{number[op]} = {type(op).__name__}({_arguments(op, number)}) : {op.type}{comment}"


def _arguments(op: Op, number: dict[Op, str]) -> str:
    if isinstance(op, Input):
        return op.name + "".join(f", {each}" for each in _KNOWN if getattr(op, each))
    if isinstance(op, Const):
        return constant(op)
    shown = [number[each] for each in op.operands]
    shown += [
        f"{key}={_value(value)}"
        for key, value in op.attributes.items()
        if value is not None and value is not False
    ]
    return ", ".join(shown)


_KNOWN = ("public", "carried", "counted")


def constant(op: Op) -> str:
    """A constant's value if it is public and short, or a word in its place."""
    assert isinstance(op, Const)
    if op.secret:
        return "secret"
    if op.value.size > _SHOWN:
        return "..."
    return _numbers(op.value)


def _numbers(value: NDArray[np.generic]) -> str:
    if value.ndim == 0:
        return _value(value.item())
    return "[" + ", ".join(_numbers(each) for each in value) + "]"


def _value(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        return f"{value:.7g}"
    if isinstance(value, tuple):
        return "(" + ",".join(_value(each) for each in value) + ")"
    return str(value)
