"""What is wrong with a model's values, rather than with its operators."""

from __future__ import annotations

from collections.abc import Iterator

from ppc.frontend.ir import ops
from ppc.frontend.ir.graph import Op
from ppc.runtime.base.errors import Error

REMEDY = (
    "Scale it down in the model (a mask, to -10000), or calibrate on data that is nearer to what it will see"
)


def weightless(output: str) -> str:
    """Why an output that one party alone can compute is refused."""
    return f"output {output!r} does not depend on the model's weights; choose others with --output"


class RangeError(Error, ValueError):
    """A value that has no place in fixed point: node, range and remedy are in the message."""

    exit_status = 6


def place(op: Op) -> str:
    """Which value it is: the op, the tensor's name, its type.

    What an exporter's node was taken apart into has no tensor of its own; it is told by the nearest that it
    is made of.
    """
    kind = op.spline.function if isinstance(op, ops.Spline) else type(op).__name__
    if op.name:
        return f"{kind} {op.name} : {op.type}"
    name = next((each.name for each in _below(op) if each.name and not isinstance(each, ops.Const)), "")
    return f"{kind} {'of ' + name if name else '(unnamed)'} : {op.type}"


def _below(op: Op) -> Iterator[Op]:
    """What ``op`` is made of, the nearest first."""
    queue, seen = [op], {op}
    for each in queue:
        yield each
        fresh = [x for x in each.operands if x not in seen]
        seen.update(fresh)
        queue += fresh
