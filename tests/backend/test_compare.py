"""The error by layer: small everywhere for a faithful plan, large from a spoilt weight on."""

from __future__ import annotations

import numpy as np
import onnx
import pytest

import ppc
from models.tiny_bert import Shape, tiny_bert
from ppc.backend.compare import MASKED, _error, error_by_layer
from ppc.frontend.errors import UsageError

pytestmark = pytest.mark.long


def feeds(compiled, kept: int) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(3)
    found = {}
    for spec in compiled.plan.inputs:
        mask = np.broadcast_to(np.arange(spec.shape[-1]) < kept, spec.shape).astype(np.int64)
        ids = rng.integers(0, (spec.high or 1) + 1, spec.shape)
        found[spec.name] = mask if "mask" in spec.name else ids
    return found


def test_a_faithful_plan_is_close_at_every_layer(small):
    given = feeds(small.compiled, kept=5)
    (found,), rows, _ = error_by_layer(small.compiled.plan, small.compiled.weights, [given], small.model)
    plain = ppc.simulate(small.compiled.plan, small.compiled.weights, given)
    assert all(np.array_equal(found.outputs[name], plain[name]) for name in plain)
    assert len(rows) > 10
    assert max(row["relative"] for row in rows) < 0.1
    named = [step.name for step in small.compiled.plan.steps]
    places = [named.index(row["name"]) for row in rows]  # of the first step that bears the name
    assert places == sorted(places)


def test_a_spoilt_weight_shows_from_its_layer_on(small):
    plan, weights = small.compiled.plan, dict(small.compiled.weights)
    _, rows, _ = error_by_layer(plan, weights, [feeds(small.compiled, kept=5)], small.model)
    spoilt = max(weights, key=lambda name: weights[name].ndim and min(weights[name].shape))
    weights[spoilt] = -weights[spoilt]
    _, worse, _ = error_by_layer(plan, weights, [feeds(small.compiled, kept=5)], small.model)
    grown = [b["relative"] > 10 * a["relative"] + 0.1 for a, b in zip(rows, worse, strict=True)]
    assert any(grown)
    assert not all(grown)


def test_a_short_prompt_is_held_against_the_model_at_the_length_it_runs_at(tmp_path):
    path = tmp_path / "m.onnx"
    onnx.save(tiny_bert(Shape(layers=1, width=16)), path)
    made = ppc.compile(path, seq_len=[4, 8])
    ids = {"input_ids": np.ones((1, 3), np.int64), "attention_mask": np.ones((1, 3), np.int64)}
    given = {spec.name: ids.get(spec.name, np.zeros((1, 3), np.int64)) for spec in made.plan.inputs}
    _, rows, _ = error_by_layer(made.plan, made.weights, [given], path)
    assert len(rows) > 10
    assert max(row["relative"] for row in rows) < 0.1


def test_of_several_samples_the_worst_counts(small):
    plan, weights = small.compiled.plan, small.compiled.weights
    samples = [feeds(small.compiled, kept=kept) for kept in (8, 5, 1)]
    apart = [error_by_layer(plan, weights, [each], small.model) for each in samples]
    found, rows, _ = error_by_layer(plan, weights, samples, small.model)
    for each, ((alone,), *_) in zip(found, apart, strict=True):
        assert all(np.array_equal(each.outputs[name], x) for name, x in alone.outputs.items())
    for row, *alone in zip(rows, *(rows for _, rows, _ in apart), strict=True):
        assert {each["name"] for each in alone} == {row["name"]}
        for what in ("max_error", "relative"):
            assert row[what] == max(each[what] for each in alone)
    largest = [[each["max_error"] for each in found] for _, found, _ in apart]
    assert len(set(np.argmax(largest, axis=0))) > 1


def test_the_sample_that_does_not_fit_is_named(small):
    good = feeds(small.compiled, kept=5)
    with pytest.raises(ppc.RuntimeFault, match=r"^samples\[1\]: input 'nobody'"):
        error_by_layer(
            small.compiled.plan, small.compiled.weights, [good, {**good, "nobody": np.zeros(1)}], small.model
        )


def test_what_the_mask_hides_is_not_compared():
    assert _error(np.array([1.0, -20.0]), np.array([1.0, -3e38])) == (0.0, 0.0)
    assert _error(np.array([-20.0]), np.array([MASKED])) == (0.0, 0.0)


def test_wrong_feeds_are_refused(small):
    given = feeds(small.compiled, kept=5)
    with pytest.raises((UsageError, ppc.RuntimeFault)):
        error_by_layer(
            small.compiled.plan, small.compiled.weights, [{**given, "nobody": np.zeros(1)}], small.model
        )
