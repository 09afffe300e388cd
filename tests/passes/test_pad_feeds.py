"""One more sample where calibration data has no padding for a mask to fill."""

from __future__ import annotations

import numpy as np
import pytest
from rewriting import graph, inp, num

from ppc.frontend.ir import ops
from ppc.frontend.ir.graph import BOOL, FLOAT, INT, Graph, Op
from ppc.passes.pad_feeds import pad_feeds

R = np.random.default_rng(0)
MASK = inp(1, 5, name="mask", num=INT)
KEPT = inp(1, 5, name="kept", num=BOOL)
FLOATS = ops.Cast(MASK, FLOAT)


def scores() -> Op:
    return ops.MatMul(inp(4, 3), ops.Const(R.normal(size=(3, 5)).astype(np.float32), True))


def fed(g: Graph, **given: object) -> list[dict[str, np.ndarray]]:
    return [{"x": R.normal(size=(4, 3)), **{k: np.array(v) for k, v in given.items()}} for _ in range(3)]


@pytest.mark.parametrize(
    ("masked", "name", "idle", "half"),
    [
        (ops.Mul(ops.Sub(num(1), FLOATS), num(-1e9)), "mask", [[1] * 5], [[1, 1, 1, 0, 0]]),
        (ops.Mul(FLOATS, num(-1e4)), "mask", [[0] * 5], [[0, 0, 0, 1, 1]]),
        (ops.Where(KEPT, num(0), num(-np.inf)), "kept", [[True] * 5], [[True, True, True, False, False]]),
    ],
)
def test_a_mask_that_fills_nothing_fills_half_of_one_more(masked: Op, name: str, idle: object, half: object):
    g = graph(ops.Softmax(ops.Add(scores(), masked)))
    feeds = fed(g, **{name: idle})
    more = pad_feeds(g, feeds)
    assert len(more) == 4
    np.testing.assert_array_equal(more[-1][name], half)
    assert more[-1][name].dtype == feeds[0][name].dtype
    assert more[-1]["x"] is feeds[-1]["x"]
    np.testing.assert_array_equal(feeds[-1][name], idle)


def test_a_mask_that_fills_something_is_enough() -> None:
    g = graph(ops.Softmax(ops.Add(scores(), ops.Mul(FLOATS, num(-1e9)))))
    feeds = [*fed(g, mask=[[0] * 5]), *fed(g, mask=[[0, 0, 0, 0, 1]])]
    assert pad_feeds(g, feeds) is feeds


def test_what_is_no_mask_stays() -> None:
    for y in (
        ops.Mul(scores(), FLOATS),
        ops.Add(scores(), FLOATS),
        ops.Add(scores(), ops.Mul(FLOATS, num(-9))),
    ):
        g = graph(y)
        feeds = fed(g, mask=[[1] * 5])
        assert pad_feeds(g, feeds) is feeds
