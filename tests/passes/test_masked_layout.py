"""A small mask under what moves elements about: the same as the mask written out, and still small."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from rewriting import inp

from ppc.frontend.ir import ops
from ppc.frontend.ir.ops import Const
from ppc.passes.fold_constants import folded
from ppc.passes.masked_layout import Layout, joined, moved

R = np.random.default_rng(0)


def indices(*places: int) -> Const:
    return Const(np.array(places))


LAYOUTS: dict[str, Layout] = {
    "split": ops.Reshape(inp(6, 4), (2, 3, 4)),
    "laid flat": ops.Reshape(inp(2, 3, 4), (24,)),
    "heads laid flat": ops.Reshape(inp(2, 3, 4, 5), (6, 4, 5)),
    "cut anew": ops.Reshape(inp(4, 6), (3, 8)),
    "ones between": ops.Reshape(inp(2, 1, 3), (1, 2, 3, 1)),
    "ones gone": ops.Reshape(inp(1, 1), ()),
    "turned": ops.Transpose(inp(2, 3, 4), (2, 0, 1)),
    "repeated": ops.Broadcast(inp(3, 1), (2, 3, 4)),
    "sliced": ops.Slice(inp(4, 6), (1, 0), (3, 6), (0, 1), (1, 2)),
    "backwards": ops.Slice(inp(2, 5), (4,), (0,), (1,), (-1,)),
    "looked up": ops.Gather(inp(3, 4), indices(2, 0, 2), 1),
    "one place": ops.Gather(inp(3, 4), Const(np.array(1)), 0),
}


@pytest.mark.parametrize("name", LAYOUTS)
def test_a_mask_moves_as_what_it_masks(name: str) -> None:
    op = LAYOUTS[name]
    shape = op.x.type.shape
    for axes in itertools.product((True, False), repeat=len(shape)):
        small = tuple(n if whole else 1 for n, whole in zip(shape, axes, strict=True))
        for lifted in {small, small[next((i for i, n in enumerate(small) if n > 1), len(small)) :]}:
            mask = Const(R.normal(size=lifted))
            got = moved(op, mask)
            assert isinstance(got, Const)
            wide = op.replace((Const(np.broadcast_to(mask.value, shape)), *op.operands[1:]))
            np.testing.assert_array_equal(np.broadcast_to(got.value, op.type.shape), folded(wide).value)
            if not any(axes):
                assert got.type.size == 1


def test_axes_that_stay_apart_are_not_written_out() -> None:
    heads = LAYOUTS["heads laid flat"]
    assert moved(heads, Const(np.zeros((1, 1, 1, 5)))).type.shape == (1, 1, 5)
    assert moved(heads, Const(np.zeros((2, 1, 1, 5)))).type.shape == (6, 1, 5)


def test_one_after_the_other() -> None:
    a, b = R.normal(size=(1, 2)), R.normal(size=(3, 4))
    got = joined([Const(a), Const(b)], 1)
    assert isinstance(got, Const)
    np.testing.assert_array_equal(got.value, np.concatenate([np.broadcast_to(a, (3, 2)), b], axis=1))
