"""What depends on no input is computed when compiling: f(c₁, c₂, …) -> constant.

The result is secret as soon as one operand is: what only the server knows costs nothing at run time. Values
are computed in doubles; tensors that were kept narrower stay so.
"""

from __future__ import annotations

import numpy as np

from ppc.frontend.ir.graph import Graph, Input, Op
from ppc.frontend.ir.ops import Broadcast, Const, Opaque
from ppc.frontend.ir.reference import constant_value
from ppc.passes.rewrite import Refuse, Rewritten, Uses, apply

LARGEST_BROADCAST = 1 << 16
"""Elements up to which a constant is written out repeated; operators broadcast by themselves."""


def fold_constants(graph: Graph) -> Rewritten:
    """The graph with every op on constants replaced by its value."""
    return apply(rule, graph)


def rule(op: Op, uses: Uses) -> Op | None:
    if isinstance(op, Const | Input | Opaque) or not all(isinstance(each, Const) for each in op.operands):
        return None
    if isinstance(op, Broadcast) and op.type.size > LARGEST_BROADCAST:
        raise Refuse(f"the constant would grow from {op.x.type.size} to {op.type.size} elements")
    return folded(op)


def folded(op: Op) -> Const:
    """The value of an op whose operands are constants, as a constant of the same type."""
    operands = [each for each in op.operands if isinstance(each, Const)]
    value = constant_value(op)
    widths = [each.value.dtype.itemsize for each in operands if each.value.dtype.kind == "f"]
    if value.dtype == np.float64 and value.size > 1 and widths and max(widths) <= 4:
        value = value.astype(np.float32)
    return Const(value, any(each.secret for each in operands), name=op.name)


def settled(op: Op) -> Op:
    """The op, or its value where that is known."""
    return folded(op) if op.operands and all(isinstance(each, Const) for each in op.operands) else op
