"""What is assumed of an input by its kind, how it is drawn, and what is said of it."""

from __future__ import annotations

import numpy as np
import pytest
import tiny_bert

from ppc.frontend.ir import ops
from ppc.frontend.ir.graph import FLOAT, INT, Graph, Input
from ppc.passes import Options, run
from ppc.passes.draw_inputs import COUNT, ENOUGH, Assumed, assumed, random_feeds, warnings

N, ROWS = 12, 40
TABLE = np.random.default_rng(0).normal(size=(ROWS, 4)).astype(np.float32)
TABLE[17] *= 100  # the longest by far
W = ops.Const(np.ones((4, 3), np.float32), True)


def looked_up(name: str, num=INT) -> Graph:
    ids = Input((1, N), num, name=name)
    return Graph((ids,), {"y": ops.MatMul(ops.Gather(ops.Const(TABLE, True), ids), W)})


def plain(name: str, num=FLOAT, shape=(1, N, 4)) -> Graph:
    x = Input(shape, num, name=name)
    return Graph((x,), {"y": ops.MatMul(x if num == FLOAT else ops.Cast(x, FLOAT), W)})


def one(graph: Graph, feeds=None, margin=3.0) -> Assumed:
    (found,) = assumed(graph, feeds, margin)
    return found


@pytest.mark.parametrize(
    ("graph", "kind", "low", "high"),
    [
        (looked_up("input_ids"), "ids", 0, ROWS - 1),
        (looked_up("position_ids"), "positions", 0, ROWS - 1),
        (plain("position_ids", INT, (1, N, 4)), "positions", 0, 3),
        (plain("attention_mask", INT), "mask", 0, 1),
        (plain("attention_mask"), "mask", 0, 3),
        (plain("kept", INT), "mask", 0, 1),
    ],
)
def test_an_input_is_of_a_kind_by_what_reads_it_and_its_name(graph, kind, low, high):
    found = one(graph)
    assert (found.kind, found.low, found.high, found.calibrated) == (kind, low, high, False)


def test_numbers_are_bounded_by_what_was_drawn_times_the_margin():
    graph = plain("pixel_values")
    most = max(np.abs(feeds["pixel_values"]).max() for feeds in random_feeds(graph))
    found = one(graph)
    assert found.kind == "numbers"
    assert 3 * most * 0.8 <= max(-found.low, found.high) <= 3 * most * 1.2
    assert "No table bounds it: give samples with --calibrate" in str(found)


def test_samples_bound_numbers_and_hold_zero():
    """What is padded is zero."""
    found = one(plain("pixel_values"), [{"pixel_values": np.full((1, N, 4), 200.0)}], 2.0)
    assert (found.low, found.high, found.calibrated) == (0, 400, True)
    assert "as in the samples" in str(found)


def test_a_range_is_told_in_few_bits():
    """It is the samples' own: their largest number is not to be read off it."""
    found = one(plain("p"), [{"p": np.full((1, N, 4), 1.2345678)}], 2.0)
    assert 2 * 1.2345678 < found.high < 1.13 * 2 * 1.2345678
    assert found.high * 4 == round(found.high * 4)


def test_a_mask_that_was_full_may_be_empty_and_positions_go_to_the_end():
    assert one(plain("mask", INT), [{"mask": np.ones((1, N, 4), np.int64)}]).low == 0
    assert one(plain("mask", INT), [{"mask": np.zeros((1, N, 4), np.int64)}]).high == 1
    graph = plain("position_ids", INT)
    assert one(graph, [{"position_ids": np.zeros((1, N, 4), np.int64)}]).high == 3


def test_ids_come_at_their_corners():
    found = [feeds["input_ids"].ravel() for feeds in random_feeds(looked_up("input_ids"))]
    assert len(found) == COUNT
    assert found[1][0] == 17  # of which one token counts
    assert max(np.mean(np.linalg.norm(TABLE[ids], axis=1)) for ids in found) > 6
    assert len({tuple(ids) for ids in found}) == COUNT


def test_lengths_go_from_one_token_to_all():
    lengths = [int(feeds["attention_mask"].sum()) for feeds in random_feeds(tiny_bert.tiny_bert())]
    assert min(lengths) == 1
    assert max(lengths) == tiny_bert.SEQ
    assert len(set(lengths)) > 2


def test_positions_are_drawn_in_order():
    for graph in (looked_up("position_ids"), looked_up("positions")):
        for feeds in random_feeds(graph):
            (drawn,) = feeds.values()
            assert drawn.tolist() == [list(range(N))]


# ---- warnings


def masks(*lengths: int) -> list[dict[str, np.ndarray]]:
    return [tiny_bert.feeds(length, seed) for seed, length in enumerate(lengths)]


def test_random_inputs_are_for_trying():
    (line,) = warnings(tiny_bert.tiny_bert(), None)
    assert line.startswith("WARNING: ")
    assert "for trying, not for serving" in line


def test_few_samples_and_short_ones_are_warned_of():
    graph, full = tiny_bert.tiny_bert(), tiny_bert.SEQ
    assert warnings(graph, masks(*[full] * ENOUGH)) == ()
    (few,) = warnings(graph, masks(*[full] * (ENOUGH - 1)))
    assert "31 samples" in few
    (short,) = warnings(graph, masks(*[full // 2] * ENOUGH))
    assert "fills 50% of the compiled length" in short
    assert len(warnings(graph, masks(1))) == 2


def test_the_pipeline_says_so():
    state = run(tiny_bert.tiny_bert(), Options(), masks(3, 4), stop_after="clamp_mask")
    assert sum("WARNING" in note for note in state.notes) == 2
    assert [each.name for each in state.inputs] == ["input_ids", "attention_mask"]
