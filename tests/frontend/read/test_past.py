"""Which inputs are caches, and the graph that carries them on."""

from __future__ import annotations

import numpy as np
import pytest
from onnx import TensorProto, helper

from models.llama import small
from ppc.frontend.errors import UsageError
from ppc.frontend.ir.ops import Input
from ppc.frontend.ir.owners import Owners
from ppc.frontend.ir.reference import evaluate
from ppc.frontend.read.load import load
from ppc.frontend.read.past import Carried, carried, carrying, short_axes


def model(inputs, outputs):
    def value(name, *shape):
        return helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)

    nodes = [helper.make_node("Identity", [inputs[0][0]], [name]) for name in outputs]
    graph = helper.make_graph(
        nodes, "g", [value(*each) for each in inputs], [value(name, None) for name in outputs]
    )
    return helper.make_model(graph)


PAST = ("past_key_values.0.key", 1, 2, "past_sequence_length", 8)


@pytest.mark.parametrize(
    ("given", "output"),
    [
        (PAST, "present.0.key"),
        (PAST, "present_key_values.0.key"),
        (("past_0", 1, 2, "past_length", 8), "present_0"),
    ],
)
def test_a_cache_and_what_continues_it(given, output):
    assert carried(model([given], ["logits", output])) == (Carried(given[0], output, 2, given[3]),)


def test_the_axis_of_the_rows_is_the_one_that_counts_them():
    stacked = ("past_0", 2, 1, 4, "past_length", 8)
    assert carried(model([stacked], ["present_0"]))[0].axis == 3


@pytest.mark.parametrize(
    ("inputs", "outputs", "why"),
    [
        ([PAST], ["logits"], "no output continues it; there is no present.0.key"),
        ([("x", 1, "seq")], ["logits"], "takes no cache"),
    ],
)
def test_what_cannot_generate_is_refused(inputs, outputs, why):
    with pytest.raises(UsageError, match=why):
        carried(model(inputs, outputs))


@pytest.mark.parametrize(
    ("name", "short"),
    [("sequence_length", True), ("", True), ("past_sequence_length + 1", False), (7, False)],
)
def test_a_mask_that_does_not_say_that_it_counts_rows(name, short):
    both = model([PAST, ("mask", "batch_size", name), ("x", 1, "sequence_length")], ["present.0.key"])
    assert short_axes(both, carried(both), ["mask"]) == (["mask.1"] if short else [])


def test_only_new_rows_and_the_last_token_come_out():
    decoder = small()
    pairs, past, new = carried(decoder), 5, 3
    sizes = {each.axis_name: past for each in pairs}
    whole = load(decoder, seq_len=new, dims=sizes, outputs=["logits", *(each.output for each in pairs)])
    graph = carrying(whole, pairs, new)
    rng = np.random.default_rng(0)
    feeds = {each.name: rng.normal(size=each.shape) for each in graph.inputs if each.carried}
    feeds |= {
        "input_ids": rng.integers(0, 96, (1, new)),
        "attention_mask": np.ones((1, past + new)),
        "position_ids": np.arange(past, past + new)[None],
    }
    all_of, some = evaluate(whole, feeds), evaluate(graph, feeds)
    assert list(some) == ["logits", *(each.input for each in pairs)]
    np.testing.assert_array_equal(some["logits"], all_of["logits"][:, -1:])
    for each in pairs:
        np.testing.assert_array_equal(some[each.input], all_of[each.output][:, :, past:])


def test_a_cache_is_nobodys_alone():
    decoder = small()
    pairs = carried(decoder)
    outputs = ["logits", *(each.output for each in pairs)]
    sizes = {each.axis_name: 4 for each in pairs}
    graph = carrying(load(decoder, seq_len=1, dims=sizes, outputs=outputs), pairs, 1)
    owners = Owners()
    shared = {each.name for each in graph.inputs if isinstance(each, Input) and owners.shared(each)}
    assert shared == {each.input for each in pairs}
