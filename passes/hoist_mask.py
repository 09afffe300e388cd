"""Masks come out of the values they are in, to be the last terms under the op that they act on.

    softmax(reshape(s + m))          -> softmax(reshape s + reshape m)
    softmax((s + m)·c)               -> softmax(s·c + m·c)
    softmax(s + where(kept, b, −∞))  -> softmax(where(kept, s + b, −∞))       b T5's positions
    max over rows of −where(…)       -> the same

where they can be cut (`passes/clamp_mask.py`); `passes/masked.py` says what they come through. What is masked
is 0 after a softmax or a ReLU, and no maximum, whatever was added to it or multiplied with it before.
"""

from __future__ import annotations

from ppc.frontend.ir import ops
from ppc.frontend.ir.graph import Graph, Op, rebuild
from ppc.passes.masked import Masked
from ppc.passes.rewrite import Rewritten

READERS = (ops.Softmax, ops.Relu, ops.ReduceMax)
"""What takes a mask for minus infinity."""


def hoist_mask(graph: Graph) -> Rewritten:
    """The graph with every mask outermost under what it acts on.

    Under a softmax that is whatever the client adds, elsewhere what shows itself to be a mask by its numbers.
    """
    masked = Masked()
    count = 0

    def step(op: Op) -> Op:
        nonlocal count
        if isinstance(op, READERS) and masked.owners.shared(op):
            parts = masked[op.x]
            acts = isinstance(op, ops.Softmax) or all(mask.sure for mask in parts.masks)
            if parts.masks and acts and parts.content is not masked.outermost(op.x).content:
                count += 1
                op = op.replace((parts.whole().named(op.x.name),))
        masked.visit(op)
        return op

    return Rewritten(rebuild(graph, step), count)
