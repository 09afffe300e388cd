"""What attention reads of earlier tokens, kept: the last tokens are what they are in the whole text."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from merged import without_past
from onnx import helper, numpy_helper

from models.llama import small
from ppc.frontend.errors import UsageError
from ppc.frontend.ir.graph import Graph
from ppc.frontend.ir.reference import evaluate
from ppc.frontend.read.attended import load_last
from ppc.frontend.read.load import load

MASKS = ["attention_mask"]


def uncached() -> onnx.ModelProto:
    """The decoder whose keys and values are no outputs either."""
    model = without_past(small())
    del model.graph.output[1:]
    return model


def given(ids: np.ndarray, past: int = 0, first: int = 0) -> dict[str, np.ndarray]:
    """Inputs for ``ids`` behind ``past`` rows, of which the first ``first`` are padding."""
    count = past + ids.size
    mask = np.ones((1, count), int)
    mask[:, :first] = 0
    return {"input_ids": ids, "attention_mask": mask, "position_ids": np.arange(past, count)[None] - first}


def kept(model: onnx.ModelProto, ids: np.ndarray, first: int = 0) -> dict[str, np.ndarray]:
    """What ``ids`` leave to be read."""
    told, caches = load_last(model, ids.size, 0, {}, "logits", MASKS)
    found = evaluate(told.graph, given(ids, 0, first))
    return {each.input: found[each.output] for each in caches}


@pytest.mark.parametrize(("past", "new", "first"), [(0, 4, 0), (5, 1, 0), (5, 3, 2), (1, 1, 0)])
def test_the_last_tokens_are_what_they_are_in_the_whole_text(past: int, new: int, first: int) -> None:
    model, ids = uncached(), np.random.default_rng(0).integers(0, 96, (1, past + new))
    told, caches = load_last(model, new, past, {}, "logits", MASKS)
    feeds = given(ids[:, past:], past, first) | (kept(model, ids[:, :past], first) if past else {})
    feeds["attention_mask"] = given(ids, 0, first)["attention_mask"]
    whole = evaluate(load(model, seq_len=past + new, outputs=["logits"]), given(ids, 0, first))
    found = evaluate(told.graph, feeds)
    assert {each.name: each.shape for each in told.graph.inputs} == {
        name: value.shape for name, value in feeds.items()
    }
    np.testing.assert_allclose(found["logits"], whole["logits"][:, -new:], atol=1e-12)
    assert all(found[each.output].shape[each.axis] == new for each in caches)


def test_keys_are_kept_as_the_product_reads_them_and_once_for_queries_that_share_them() -> None:
    _, caches = load_last(uncached(), 1, 3, {}, "logits", MASKS)
    assert [(each.output, each.axis) for each in caches] == [
        ("layers.0.self_attn.k_turned", 2),
        ("layers.0.self_attn.v_proj", 1),
        ("layers.1.self_attn.k_turned", 2),
        ("layers.1.self_attn.v_proj", 1),
    ]


def ending(model: onnx.ModelProto, *nodes: onnx.NodeProto, **weights: np.ndarray) -> onnx.ModelProto:
    """The model with these behind what were its logits."""
    model.graph.node[-1].output[0] = "before"
    model.graph.node.extend(nodes)
    model.graph.initializer.extend(numpy_helper.from_array(value, name) for name, value in weights.items())
    return model


def taken(start: int, end: int) -> onnx.ModelProto:
    cut = helper.make_node("Slice", ["before", "from", "to", "tokens"], ["logits"])
    return ending(
        uncached(), cut, **{"from": np.array([start]), "to": np.array([end]), "tokens": np.array([1])}
    )


@pytest.mark.parametrize("new", [1, 2])
def test_a_model_may_take_its_last_token_itself(new: int) -> None:
    model, ids = taken(-1, 2**60), np.arange(5)[None]
    told, _ = load_last(model, new, 5 - new, {}, "logits", MASKS)
    found = evaluate(told.graph, given(ids[:, -new:], 5 - new) | kept(model, ids[:, :-new]))
    whole = evaluate(load(model, seq_len=5, outputs=["logits"]), given(ids))
    np.testing.assert_allclose(found["logits"], whole["logits"], atol=1e-12)


def averaged() -> onnx.ModelProto:
    mean = helper.make_node("ReduceMean", ["before"], ["mean"], axes=[1], keepdims=1)
    return ending(uncached(), mean, helper.make_node("Add", ["before", "mean"], ["logits"]))


def shared_out() -> onnx.ModelProto:
    return ending(uncached(), helper.make_node("Softmax", ["before"], ["logits"], axis=1))


def summed() -> onnx.ModelProto:
    return ending(uncached(), helper.make_node("CumSum", ["before", "one"], ["logits"]))


def without_attention() -> onnx.ModelProto:
    nodes = [
        helper.make_node("Gather", ["embed_tokens", "input_ids"], ["x"]),
        helper.make_node("MatMul", ["x", "lm_head"], ["logits"]),
    ]
    model = uncached()
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    return model


@pytest.mark.parametrize(
    ("model", "why"),
    [
        (averaged, "joins tokens"),
        (shared_out, "joins tokens"),
        (summed, "joins tokens"),
        (lambda: taken(0, 1), "takes other tokens than the last"),
        (without_attention, "no product has rows of tokens at both sides"),
    ],
)
def test_what_is_not_of_the_last_tokens_alone_is_refused(model, why: str) -> None:
    with pytest.raises(UsageError, match=f"takes no cache, .* not to be seen: .*{why}.* Export it with past"):
        load_last(model(), 1, 4, {}, "logits", MASKS)


def test_nothing_of_it_changes_the_whole_graph() -> None:
    model = uncached()
    graph: Graph = load_last(model, 4, 0, {}, "logits", MASKS)[0].graph
    ids = np.arange(4)[None]
    whole = load(model, seq_len=4, outputs=["logits"])
    np.testing.assert_array_equal(
        evaluate(graph, given(ids))["logits"], evaluate(whole, given(ids))["logits"]
    )
