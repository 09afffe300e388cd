from dataclasses import replace
from functools import cache

import numpy as np
import pytest
import tiny_bert

from ppc import passes
from ppc.frontend.ir import ops
from ppc.frontend.ir.graph import FLOAT, Graph, Input, rebuild, walk
from ppc.passes.assign_scale import FixedGraph, is_local
from ppc.passes.calibrate import Range
from ppc.passes.check_range import RangeError, check_range
from ppc.passes.formats import WIDEST
from ppc.passes.watched import ROOM
from ppc.runtime.base.ring import Fixed
from ppc.runtime.he.product import MAX_ELL


@cache
def fixed() -> FixedGraph:
    return passes.run(
        tiny_bert.tiny_bert(), feeds=[tiny_bert.feeds(n, n) for n in (6, 4)], stop_after="assign_scale"
    ).fixed


def first(kind, where=lambda op: True):
    return next(
        op
        for op in walk(fixed().graph)
        if isinstance(op, kind) and isinstance(op.type.num, Fixed) and where(op)
    )


def stretched(op, factor):
    known = fixed().ranges[op]
    wide = Range(known.lo * factor, known.hi * factor, known.rms)
    return FixedGraph(fixed().graph, {**fixed().ranges, op: wide})


def swapped(old, new):
    """The graph with one op replaced; all ops above it are new, so ranges follow by position."""
    order = walk(fixed().graph)
    graph = rebuild(fixed().graph, lambda op: new if op is old else op)
    return FixedGraph(
        graph, {b: fixed().ranges[a] for a, b in zip(order, walk(graph), strict=True) if a in fixed().ranges}
    )


def test_what_assign_scale_makes_is_right():
    assert check_range(fixed()) is fixed().graph


def truncated(op):
    return not is_local(op.x.type.num, op.num)


def test_a_truncated_value_that_may_grow_is_refused():
    source = first(ops.Rescale, truncated).x
    with pytest.raises(RangeError, match="when it is truncated reaches"):
        check_range(stretched(source, 2.5))


@pytest.mark.parametrize(
    ("kind", "message"),
    [(ops.Cast, "when it is encoded"), (ops.Const, "when it is encoded")],
)
def test_an_encoded_value_must_fit(kind, message):
    op = first(kind)
    with pytest.raises(RangeError, match=message):
        check_range(stretched(op, 2.0**op.type.num.bits))


def test_a_result_must_fit():
    (result,) = fixed().graph.outputs.values()
    with pytest.raises(RangeError, match="as a result"):
        check_range(stretched(result, 1e6))


def test_a_maximum_must_tell_its_values_apart():
    op = first(ops.ReduceMax)
    with pytest.raises(RangeError, match="difference of two values"):
        check_range(stretched(op.x, 4.0 * ROOM))


def test_a_narrower_comparison_is_refused():
    op = first(ops.Spline, lambda op: op.spline.function == "gelu")
    assert check_range(swapped(op, replace(op, width=op.width)))
    with pytest.raises(RangeError, match="distance to a knot"):
        check_range(swapped(op, replace(op, width=op.width - 2)))


def test_smaller_quadratics_are_refused():
    op = first(ops.Spline, lambda op: op.spline.function == "gelu")
    with pytest.raises(RangeError, match="value of a quadratic"):
        check_range(swapped(op, replace(op, quad=op.quad.with_bits(op.quad.bits - 3))))
    with pytest.raises(RangeError, match="no format"):
        check_range(swapped(op, replace(op, quad=None)))


def test_message_names_node_range_and_ring():
    op = first(ops.Spline, lambda op: op.spline.function == "gelu")
    with pytest.raises(RangeError) as caught:
        check_range(swapped(op, replace(op, width=3, name="the/node")))
    assert "the/node" in str(caught.value)
    assert "i3f" in str(caught.value)
    assert caught.value.exit_status == 6


def test_every_value_that_must_fit_is_looked_at():
    """Stretching any checked value beyond its ring by itself is noticed."""
    for op in walk(fixed().graph):
        if isinstance(op, ops.Rescale) and truncated(op) and np.isfinite(fixed().ranges[op.x].magnitude):
            with pytest.raises(RangeError):
                check_range(stretched(op.x, 2.0**op.x.type.num.bits))


def test_a_product_that_no_encryption_holds_is_refused():
    assert WIDEST == MAX_ELL
    x = Input((2, 2), FLOAT, name="x")
    for bits, fits in ((WIDEST, True), (WIDEST + 1, False)):
        num = Fixed(bits, 4)
        y = ops.MatMul(ops.Cast(x, num), ops.Const(np.eye(2), True, num=num), name="wide")
        made = FixedGraph(Graph((x,), {"y": y}), {op: Range(-1, 1, 1) for op in walk(Graph((x,), {"y": y}))})
        if fits:
            assert check_range(made) is made.graph
        else:
            with pytest.raises(RangeError, match=r"MatMul wide .* ring of 49 bits, more than the 48"):
                check_range(made)
