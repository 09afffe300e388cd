"""Which outputs are told by the place of their largest number, and what cannot be."""

from __future__ import annotations

import numpy as np
import pytest

from ppc.backend.reveal import argmaxes
from ppc.frontend.ir import ops
from ppc.frontend.ir.graph import Graph
from ppc.runtime.base.errors import BadInput

SHAPES = {"logits": (1, 3), "more": (2, 4, 5), "score": (7, 1), "number": ()}
GRAPH = Graph((), {name: ops.Const(np.zeros(shape, np.float32)) for name, shape in SHAPES.items()})


@pytest.mark.parametrize(
    ("reveal", "found"),
    [
        ("value", set()),
        ({}, set()),
        ({"logits": "argmax"}, {"logits"}),
        ({"logits": "argmax", "more": "argmax", "score": "value"}, {"logits", "more"}),
    ],
)
def test_outputs_told_by_a_place(reveal, found):
    assert argmaxes(GRAPH, reveal) == found


@pytest.mark.parametrize(
    ("reveal", "words"),
    [
        ("argmax", "'score' of shape (7, 1) has no two numbers"),
        ({"number": "argmax"}, r"'number' of shape () has no two numbers"),
        ({"others": "value"}, "no output 'others' to reveal; there are logits, more, score, number"),
        ({"logits": "top"}, "'logits' is value or argmax, not 'top'"),
    ],
)
def test_what_cannot_be_revealed(reveal, words):
    with pytest.raises(BadInput) as fault:
        argmaxes(GRAPH, reveal)
    assert words in str(fault.value)
