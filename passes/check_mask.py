"""No mask is multiplied by what neither party knows.

s·t with a mask of −10⁴ in s makes an error of t's ten thousand times as large, and where t is 0 to within its
error no mask at all. Cut masks would do no better.
"""

from __future__ import annotations

from ppc.frontend.ir import ops
from ppc.frontend.ir.graph import Graph, Owner
from ppc.passes.errors import RangeError, place
from ppc.passes.masked import DEEP, contents
from ppc.passes.owners import owners
from ppc.passes.ranges import Ranges


def check_mask(graph: Graph, ranges: Ranges) -> Graph:
    """The graph itself; RangeError for the first such product. ``ranges`` are of this graph."""
    owner = owners(graph)
    full = {op for op in contents(graph) if min(ranges[op].lo, -ranges[op].hi) < DEEP}
    for op, who in owner.items():
        if isinstance(op, ops.Mul | ops.MatMul) and who is Owner.SHARED:
            masked = [each for each in op.operands if each in full]
            if masked and all(owner[each] is Owner.SHARED for each in op.operands):
                raise RangeError(
                    f"{place(op)} multiplies by what neither party knows a value in which a mask reaches "
                    f"{ranges[masked[0]]}; mask after the product in the model"
                )
    return graph
