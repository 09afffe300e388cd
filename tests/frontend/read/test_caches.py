"""Caches that nobody gives, and the branch of a merged decoder that goes with them."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from merged import merged, without_past
from onnx import helper
from onnx_models import model, tensor

from models.llama import small
from ppc.frontend.errors import UnsupportedModel
from ppc.frontend.ir.reference import evaluate
from ppc.frontend.read.caches import BRANCH, cache_axes
from ppc.frontend.read.load import load
from ppc.frontend.read.past import carried
from ppc.frontend.read.run import Runner

PAST, NEW = 5, 3
MASKS = ("sequence_length", "attention_mask_sequence_length", "past_sequence_length + sequence_length")


def doubled(decoder: onnx.ModelProto) -> onnx.ModelProto:
    """With logits that tell it from the other branch."""
    decoder.graph.node[-1].output[0] = "single"
    decoder.graph.node.append(helper.make_node("Add", ["single", "single"], ["logits"]))
    return decoder


def given(past: int) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    feeds = {
        "input_ids": rng.integers(0, 96, (1, NEW)),
        "attention_mask": np.ones((1, past + NEW), int),
        "position_ids": np.arange(past, past + NEW)[None],
    }
    if past:
        feeds |= {
            each.input: rng.normal(size=(1, 2, past, 8)).astype(np.float32) for each in carried(small())
        }
    return feeds


@pytest.mark.parametrize("mask", MASKS)
@pytest.mark.parametrize("past", [0, PAST])
def test_a_merged_decoder_is_the_branch_of_its_caches(mask: str, past: int) -> None:
    both = merged(doubled(without_past(small())), small(), mask)
    feeds = given(past)
    alone = Runner(small(), ["logits", "present.1.key"]).run(feeds)
    wanted = alone["logits"] * (1 if past else 2)
    assert np.allclose(Runner(both, ["logits"]).run(feeds)["logits"], wanted, atol=1e-5)
    rows = {"past_sequence_length": past, "attention_mask.1": past + NEW} if past else {}
    graph = load(both, seq_len=NEW, dims=rows, outputs=["logits", "present.1.key"])
    assert {each.name for each in graph.inputs} == set(feeds)
    found = evaluate(graph, feeds)
    assert np.allclose(found["logits"], wanted, atol=1e-4)
    assert np.allclose(found["present.1.key"], alone["present.1.key"], atol=1e-4)


def test_what_the_caller_says_of_the_branch_counts_for_onnx_runtime() -> None:
    both = merged(doubled(without_past(small())), small())
    feeds = given(0)
    told = {**feeds, BRANCH: np.array([True])}  # over empty caches
    runner = Runner(both, ["logits"])
    assert np.allclose(2 * runner.run(told)["logits"], runner.run(feeds)["logits"], atol=1e-5)


def test_an_input_of_that_name_means_nothing_to_a_model_without_caches() -> None:
    branches = [
        helper.make_graph([helper.make_node(op, ["x"], ["r"])], op, [], [onnx.ValueInfoProto(name="r")])
        for op in ("Neg", "Abs")
    ]
    nodes = [
        helper.make_node("If", [BRANCH], ["y"], then_branch=branches[0], else_branch=branches[1]),
        helper.make_node("MatMul", ["y", "w"], ["z"]),
    ]
    feeds = {"x": np.ones((2, 3), np.float32), BRANCH: np.array([True])}
    with pytest.raises(UnsupportedModel, match="rewrite it with Where"):
        load(model(nodes, feeds, ["z"], [tensor("w", np.ones((3, 1), np.float32))]))


def test_the_axes_of_rows() -> None:
    assert cache_axes(small()) == {each.input: (2, "past_sequence_length") for each in carried(small())}
