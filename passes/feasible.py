"""What stands in the way of a model whatever its values are, found before anything is computed with data."""

from __future__ import annotations

import numpy as np

from ppc.frontend.ir import ops
from ppc.frontend.ir.graph import Graph, IRError, Op, Owner
from ppc.passes import PIPELINE, Options, State, find_profile
from ppc.passes.errors import weightless
from ppc.passes.legal import check_legal
from ppc.passes.owners import owners
from ppc.passes.ranges import Range, Ranges


def feasible(graph: Graph) -> None:
    """Raises IRError for the first op or output of a model that no data make computable."""
    stage, after = list(statically(graph).items())[-1]
    check_legal(after, stage)
    owner = owners(after)
    for name, op in after.outputs.items():
        if owner[op] is not Owner.SHARED:
            raise IRError(weightless(name))


def statically(graph: Graph) -> dict[str, Graph]:
    """The graph after each stage that needs no data, by the stage's name, whether or not it is legal there.

    Where masks may be cut is guessed.
    """
    options = Options()
    state = State(graph, options, (), find_profile(options.profile), _Guessed())
    found = {}
    for stage in PIPELINE:
        if not stage.data:
            state = stage.run(state)
            found[stage.name] = state.graph
    return found


class _Guessed(Ranges):
    """Ranges without data: of constants as they are, of all else a few units about 0."""

    def __missing__(self, op: Op) -> Range:
        if isinstance(op, ops.Const) and op.value.size and op.value.dtype.kind == "f":
            return Range(float(np.min(op.value)), float(np.max(op.value)), 1.0)
        return Range(-8.0, 8.0, 1.0)
