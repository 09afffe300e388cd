"""What the client learns of each output: its numbers, or only which is the largest."""

from __future__ import annotations

from collections.abc import Mapping

from ppc.frontend.ir.graph import Graph
from ppc.runtime.base.errors import BadInput

VALUE, ARGMAX = "value", "argmax"


def argmaxes(graph: Graph, reveal: str | Mapping[str, str]) -> frozenset[str]:
    """The outputs of which the place of the largest number on the last axis is told alone.

    ``reveal`` is for all outputs, or for some by name. Raises BadInput for a name that is no output, for
    what else cannot be revealed, and where a last axis leaves nothing to choose.
    """
    wanted = dict.fromkeys(graph.outputs, reveal) if isinstance(reveal, str) else reveal
    for name, what in wanted.items():
        if what not in (VALUE, ARGMAX):
            raise BadInput(f"what is revealed of {name!r} is {VALUE} or {ARGMAX}, not {what!r}")
        if name not in graph.outputs:
            raise BadInput(f"no output {name!r} to reveal; there are {', '.join(graph.outputs)}")
        shape = graph.outputs[name].type.shape
        if what == ARGMAX and (not shape or shape[-1] < 2):
            raise BadInput(
                f"output {name!r} of shape {shape} has no two numbers on its last axis to choose the larger "
                f"of; reveal its {VALUE}"
            )
    return frozenset(name for name, what in wanted.items() if what == ARGMAX)
