"""A decoder as one plan: its lengths, formats and weights, and which decoders are refused."""

from __future__ import annotations

import re

import msgspec
import numpy as np
import onnx
import pytest
from decoder import MOST, PROMPT, PROMPTS
from merged import merged, without_past

import ppc
from models.llama import small
from ppc.backend.anonymous import MODEL
from ppc.backend.generation import _filled, _sizes
from ppc.frontend.errors import UsageError
from ppc.runtime.base.errors import BadInput, BadPlan
from ppc.runtime.plan import steps
from ppc.runtime.plan.file import decode
from ppc.runtime.plan.local import packed, unpacked

pytestmark = pytest.mark.long


@pytest.mark.parametrize(
    ("least", "total", "sizes"),
    [(5, 15, [15]), (17, 31, [31]), (17, 32, [32]), (17, 100, [32, 64, 100]), (40, 130, [64, 128, 130])],
)
def test_caches_double_up_to_what_is_asked_for(least, total, sizes):
    assert _sizes(least, total) == sizes


@pytest.mark.parametrize("past", [1, 2, 31, 47])
def test_a_step_is_calibrated_where_one_may_be(past):
    for sample in range(50):
        counts = _filled(sample, 1, past)
        assert past + 1 in counts
        assert all(2 <= each <= past + 1 for each in counts)


def test_one_token_needs_no_step():
    assert _sizes(9, 8) == []


def test_prompts_come_first_then_steps(decoder):
    found = [(each.states.held, each.states.added) for each in decoder.compiled.plan.lengths]
    assert found == [*((0, prompt) for prompt in PROMPTS), (PROMPTS[-1] + MOST - 2, 1)]


def test_names_are_left_out_where_that_is_asked(decoder):
    made = ppc.compile_generation(decoder.model, prompts=[4], most=2, anonymous=True)
    assert made.plan.model == MODEL
    for each in made.plan.lengths:
        names = {step.name for step in each.steps if step.name and not isinstance(step, steps.Output)}
        assert all(re.fullmatch(r"t\d+", name) for name in names), names
    ids = list(PROMPT[:3])
    told = [token for token, _ in ppc.simulate_generation(made.plan, made.weights, ids, 2)]
    assert told == decoder.greedy(ids, 2)


def test_the_plan_is_well_formed_and_each_length_carries_the_same(decoder):
    plan = decode(decoder.compiled.plan.body)
    assert len(plan.states.kinds) == 4
    assert {axis for _, axis, _ in plan.states.kinds.values()} == {2}


def test_weights_are_stored_once(decoder):
    alone = ppc.compile_generation(decoder.model, prompts=[PROMPTS[-1]], most=1)
    size = sum(each.nbytes for each in decoder.compiled.weights.values())
    assert size < 1.05 * sum(each.nbytes for each in alone.weights.values())


def test_what_is_kept_is_never_truncated_as_a_whole(decoder):
    plan = decoder.compiled.plan
    rows = plan.states.held
    for i, step in enumerate(plan.steps):
        if isinstance(step, steps.Rescale) and rows in plan.forms[i].shape:
            assert plan.forms[i].num.scale == plan.forms[step.x].num.scale  # a smaller ring, for nothing
            assert plan.forms[i].num.bits <= plan.forms[step.x].num.bits


def test_nothing_is_revealed_but_the_last_row_of_logits(decoder):
    for each in decoder.compiled.plan.lengths:
        assert [(out.name, out.shape) for out in each.outputs] == [("logits", (1, 1, 96))]


def test_who_sees_what_says_what_is_kept(decoder):
    seen = {row["value"]: row["seen_by"] for row in ppc.summary(decoder.compiled.plan)["who_sees_what"]}
    assert seen["4 states, which grow by a row a token"] == "nobody (shares)"
    assert seen["number of tokens, and when each is asked for"] == "both"


def test_a_new_token_is_turned_by_its_row_for_nothing(decoder):
    """Both sides know the row: no factor is the client's, and each row that may be kept has its own."""
    for plan in (each for each in decoder.compiled.plan.lengths if each.states.held):
        turned = [step for step in plan.steps if isinstance(step, steps.TimesRow)]
        assert turned
        assert {step.table.shape[0] for step in turned} == {plan.states.held + 1}
        table = unpacked(turned[0].table)
        assert len(np.unique(table.reshape(len(table), -1), axis=0)) == len(table)
        multiplied = [step for step in plan.steps if isinstance(step, steps.Multiply)]
        entered = {j for step in multiplied for j in step.reads() if isinstance(plan.steps[j], steps.Encode)}
        assert not entered


def test_a_plan_with_too_few_rows_of_factors_is_refused(decoder):
    plan = decoder.compiled.plan
    short = [
        msgspec.structs.replace(step, table=packed(unpacked(step.table)[:-1]))
        if isinstance(step, steps.TimesRow)
        else step
        for step in plan.steps
    ]
    body = msgspec.structs.replace(plan, steps=tuple(short)).body
    with pytest.raises(BadPlan, match=r"has a table of \d+ rows, of which \d+ kept ones count"):
        decode(body)


def test_the_likeliest_token_alone(decoder):
    plan = ppc.compile_generation(decoder.model, prompts=[4], most=2, reveal="argmax")
    said = list(np.arange(4))
    for token, _ in ppc.simulate_generation(plan.plan, plan.weights, said, 2):
        assert token == decoder.logits(said).argmax()
        said.append(token)


def changed(path, change):
    model = small()
    change(model)
    onnx.save(model, path)
    return path


def places_by_the_cache(model):
    """As exporters write it that count the rows of the cache, and ask for no positions."""
    del model.graph.input[2]
    places = onnx.helper.make_node("Unsqueeze", ["mask.new", "nought_axis"], ["position_ids"])
    model.graph.initializer.append(onnx.numpy_helper.from_array(np.array([0]), "nought_axis"))
    nodes = [each for each in model.graph.node if each.name.startswith(("mask.", "ids."))]
    for each in nodes:
        model.graph.node.remove(each)
    for each in (places, *reversed(nodes)):
        model.graph.node.insert(0, each)


def test_a_model_that_counts_its_cache_for_places_is_refused(tmp_path):
    model = changed(tmp_path / "m.onnx", places_by_the_cache)
    with pytest.raises(UsageError, match="tells places by the length of its cache"):
        ppc.compile_generation(model, prompts=[4], most=4)


@pytest.mark.parametrize("told", [True, False])
def test_a_model_without_a_cache_is_given_one(decoder, told, tmp_path):
    """Also where it tells what a cache of its own would begin with, as optimum's decoder_model.onnx does."""
    model = without_past(small())
    if not told:
        del model.graph.output[1:]
    onnx.save(model, tmp_path / "m.onnx")
    made = ppc.compile_generation(tmp_path / "m.onnx", prompts=PROMPTS, most=MOST)
    told = [token for token, _ in ppc.simulate_generation(made.plan, made.weights, PROMPT, MOST)]
    assert told == decoder.greedy(PROMPT, MOST)
    assert made.plan.states.held == decoder.compiled.plan.states.held
    assert len(made.plan.states.kinds) == 4
    sizes = [sum(each.nbytes for each in of.weights.values()) for of in (made, decoder.compiled)]
    assert sizes[0] <= sizes[1]


def test_a_model_without_a_cache_that_counts_its_tokens_for_places_is_refused(tmp_path):
    model = without_past(small())
    places_by_the_cache(model)
    onnx.save(model, tmp_path / "m.onnx")
    with pytest.raises(UsageError, match="tells places by the length of its cache"):
        ppc.compile_generation(tmp_path / "m.onnx", prompts=[4], most=4)


@pytest.mark.parametrize("mask", ["sequence_length", "attention_mask_sequence_length"])
def test_a_merged_decoder_says_what_its_parts_say(decoder, mask, tmp_path):
    onnx.save(merged(without_past(small()), small(), mask), tmp_path / "m.onnx")
    made = ppc.compile_generation(tmp_path / "m.onnx", prompts=PROMPTS[1:], most=4)
    told = [token for token, _ in ppc.simulate_generation(made.plan, made.weights, PROMPT, 4)]
    assert told == decoder.greedy(PROMPT, 4)
    assert {spec.name for spec in made.plan.inputs} == {spec.name for spec in decoder.compiled.plan.inputs}
    sizes = [sum(each.nbytes for each in of.weights.values()) for of in (made, decoder.compiled)]
    assert sizes[0] <= sizes[1]


def another_output(model):
    model.graph.node.append(onnx.helper.make_node("Identity", ["logits"], ["again"]))
    model.graph.output.append(onnx.helper.make_tensor_value_info("again", 1, [1, "sequence_length", 96]))


def test_of_several_outputs_one_must_be_chosen(tmp_path):
    model = changed(tmp_path / "m.onnx", another_output)
    with pytest.raises(UsageError, match="one of logits, again"):
        ppc.compile_generation(model, prompts=[4], most=2)
    plan = ppc.compile_generation(model, prompts=[4], most=2, output="again").plan
    assert [out.name for out in plan.outputs] == ["again"]


def test_samples_that_are_too_short_are_refused(decoder):
    short = [{"input_ids": np.ones((1, 5), int), "attention_mask": np.ones((1, 5), int),
              "position_ids": np.arange(5)[None]}]  # fmt: skip
    with pytest.raises(BadInput, match=r"calibration: input 'input_ids' has shape \(1, 5\)"):
        ppc.compile_generation(decoder.model, prompts=[4], most=4, calibrate=short)
