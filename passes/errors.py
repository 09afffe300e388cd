"""What is wrong with a model's values, rather than with its operators."""

from __future__ import annotations

from ppc.frontend.ir.graph import Op


class RangeError(ValueError):
    """A value that has no place in fixed point: node, range and remedy are in the message."""

    exit_status = 6


def place(op: Op) -> str:
    """Which value it is: the op, the tensor's name, its type."""
    return f"{type(op).__name__} {op.name or '(unnamed)'} : {op.type}"
